"""Tokens of many sequences of one text each, computed together. S texts, N pieces of all texts, P tokens of all sequences.

:mod:`omnimask_text.tokenize.fields` is the definition, for one sequence of any number of texts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import Tokens
from omnimask.packed import ranges
from omnimask_text.tokenize.characters import sentence_starts
from omnimask_text.tokenize.scheme import Frame, Ints, Pieces, Scheme

_NO_PLACES, _NO_WORDS = np.zeros((0, 2), np.int64), np.zeros(0, np.int64)


class RememberedPieces:
    """Encodes every text once: cutting a long text encodes it, and counts the pieces of its parts.

    Args:
        scheme: encodes the texts.
        has_places: whether the pieces of many texts have offsets and words, which take time; those of one text always have.
    """

    def __init__(self, scheme: Scheme, *, has_places: bool) -> None:
        self._scheme, self._has_places = scheme, has_places
        self._pieces: dict[str, Pieces] = {}

    def encode(self, text: str) -> Pieces:
        """Return the pieces of a text with their places. Raise ``ValueError`` as the scheme does."""
        return self.encode_many([text])[0] if self._has_places else self._scheme.encode(text)

    def encode_many(self, texts: Sequence[str]) -> list[Pieces]:
        """Return the pieces of each text. Raise ``ValueError`` as the scheme does."""
        if new := [text for text in dict.fromkeys(texts) if text not in self._pieces]:
            self._pieces.update(zip(new, self._encoded(new), strict=True))
        return [self._pieces[text] for text in texts]

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return the number of pieces of each text. Raise ``ValueError`` as the scheme does."""
        return [len(pieces.ids) for pieces in self.encode_many(texts)]

    def _encoded(self, texts: Sequence[str]) -> Sequence[Pieces]:
        if self._has_places:
            return self._scheme.encode_many(texts)
        return [Pieces(ids, _NO_PLACES, _NO_WORDS) for ids in self._scheme.ids_many(texts)]


def tokens_of_many(
    frame: Frame, texts: Sequence[str], pieces: Sequence[Pieces], is_frame: NDArray[np.bool_], left_out: Collection[str] = ()
) -> list[Tokens]:
    """Return the tokens of each text, framed as a sequence of its own, as views of shared arrays.

    Args:
        frame: around each text.
        texts: (S,) as they were read.
        pieces: of each; without places if ``left_out`` contains all optional fields.
        is_frame: (vocabulary,) ids without text; they are special even if a text spells them.
        left_out: names of fields that are not computed.
    """
    if not texts:
        return []
    before, after = frame.around(1)
    sizes = np.array([len(part.ids) for part in pieces], np.int64)
    lengths = sizes + len(before) + len(after)
    stops = np.cumsum(lengths)
    starts = stops - lengths
    place = ranges(starts + len(before), sizes)  # (N,) of the pieces among all tokens
    ids = np.concatenate([part.ids for part in pieces])
    is_special = is_frame[ids]

    def put(values: NDArray[Any], fill: float) -> NDArray[Any]:
        out = np.full((int(stops[-1]), *values.shape[1:]), fill, values.dtype)
        out[place] = values
        return out

    content = put(ids, 0)
    content[starts[:, None] + np.arange(len(before))] = before
    content[(stops - len(after))[:, None] + np.arange(len(after))] = after
    columns = {"special": put(is_special, 1), "document": np.zeros(int(stops[-1]), np.int64)}
    if "word" not in left_out:
        columns["word"] = put(np.where(is_special, -1, np.concatenate([part.words for part in pieces])), -1)
    if "sentence" not in left_out:
        places = np.concatenate([part.offsets[:, 0] for part in pieces])
        columns["sentence"] = put(np.where(is_special, -1, _sentences(texts, places, sizes)), -1)
    if "offset" not in left_out:
        columns["offset"] = put(np.concatenate([part.offsets for part in pieces]), 0)
    positions = ranges(np.zeros_like(lengths), lengths).astype(np.float32)[:, None]
    return [_cut(content, positions, columns, *bounds) for bounds in zip(starts.tolist(), stops.tolist(), strict=True)]


def _cut(content: Ints, positions: NDArray[np.float32], columns: Mapping[str, NDArray[Any]], start: int, stop: int) -> Tokens:
    return Tokens(content[start:stop], positions[start:stop], {name: values[start:stop] for name, values in columns.items()})


def _sentences(texts: Sequence[str], places: Ints, sizes: Ints) -> Ints:
    """Return (N,) index of each piece's sentence in its text.

    Args:
        texts: (S,).
        places: (N,) first character of each piece in its text.
        sizes: (S,) pieces of each text.
    """
    begins = [sentence_starts(text) for text in texts]
    # In the characters of all texts, one after another. No sentence but the first begins at the first character of a text.
    first = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(text) for text in texts])])[:-1]
    counts = np.array([len(each) for each in begins], np.int64)
    everywhere = np.concatenate(begins) + np.repeat(first, counts)
    found = np.searchsorted(everywhere, places + np.repeat(first, sizes), side="right")
    return found - np.repeat(np.cumsum(counts) - counts, sizes)
