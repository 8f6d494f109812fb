"""Tokens of many sequences of one text each, computed together. R raw texts, K parts of them, N pieces, P tokens.

:mod:`omnimask_text.tokenize.fields` is the definition, for one sequence of any number of texts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import PartColumns
from omnimask.packed import ranges
from omnimask_text.tokenize.characters import sentence_starts
from omnimask_text.tokenize.cut import cut, longest_block
from omnimask_text.tokenize.scheme import Frame, Ints, ManyPieces, Pieces, Scheme

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
        self._placed: dict[str, Pieces] = self._pieces if has_places else {}

    def encode(self, text: str) -> Pieces:
        """Return the pieces of a text with their places. Raise ``ValueError`` as the scheme does."""
        found = self._placed.get(text)
        return self._scheme.encode(text) if found is None else found

    def encode_ahead(self, texts: Sequence[str]) -> None:
        """Encode texts together, with their places. Raise ``ValueError`` as the scheme does."""
        self._placed.update(zip(texts, self._scheme.encode_many(texts), strict=True))

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
        ids, sizes = self._scheme.ids_many(texts)
        return [Pieces(each, _NO_PLACES, _NO_WORDS) for each in np.split(ids, np.cumsum(sizes)[:-1])]


def pieces_of_many(scheme: Scheme, texts: Sequence[str], *, has_places: bool) -> ManyPieces:
    """Return the pieces of texts. Raise ``ValueError`` as the scheme does."""
    if has_places:
        return ManyPieces.of(scheme.encode_many(texts), has_places=True)
    return ManyPieces(*scheme.ids_many(texts))


@dataclass(frozen=True)
class PartsOfTexts:
    """K parts of R raw texts in order, each with at least one piece.

    ``number`` (K,) of each part's raw text, ascending; ``start``, ``stop`` (K,) in its characters; ``pieces`` of the parts.
    """

    number: Ints
    start: Ints
    stop: Ints
    pieces: ManyPieces


def parts_of_texts(scheme: Scheme, raws: Sequence[str], budget: int, *, has_places: bool) -> PartsOfTexts:
    """Divide texts that are not blank into parts of at most ``budget`` pieces; see :func:`~omnimask_text.tokenize.cut.cut`.

    Raises:
        ValueError: a text cannot be encoded or cut.
    """
    texts = [raw.strip() for raw in raws]
    pieces = pieces_of_many(scheme, texts, has_places=has_places)
    sizes, around = (np.fromiter(map(len, each), np.int64, len(raws)) for each in (texts, raws))
    is_uncut = (pieces.sizes <= budget) & (around <= longest_block(budget))
    start = np.zeros(len(raws), np.int64)
    is_padded = is_uncut & (sizes != around)
    if padded := np.flatnonzero(is_padded).tolist():  # white space can have pieces
        is_uncut[padded] = np.array(scheme.lengths([raws[number] for number in padded]), np.int64) <= budget
        start[padded] = [len(raws[number]) - len(raws[number].lstrip()) for number in padded]
    number = np.flatnonzero(is_uncut & (pieces.sizes > 0))
    if is_uncut.all():
        whole = pieces if len(number) == len(raws) else pieces.take(number)
        return PartsOfTexts(number, start[number], (start + sizes)[number], whole)
    remembered = RememberedPieces(scheme, has_places=has_places)
    cut_up: list[int] = np.flatnonzero(~is_uncut).tolist()
    remembered.encode_ahead([raws[long] for long in cut_up if len(raws[long]) <= longest_block(budget)])
    cuts = [(long, *part[:2]) for long in cut_up for part in cut(raws[long], remembered, budget)]
    again = remembered.encode_many([raws[long][begin:end] for long, begin, end in cuts])
    rows = np.concatenate(
        [np.stack([number, start[number], (start + sizes)[number]], axis=1), np.array(cuts, np.int64).reshape(-1, 3)]
    )
    texts_of_rows = np.concatenate([number, len(raws) + np.arange(len(cuts))])
    order = np.argsort(rows[:, 0], kind="stable")
    everything = pieces + ManyPieces.of(again, has_places=has_places)
    number, start, stop = rows[order].T.copy()
    return PartsOfTexts(number, start, stop, everything.take(texts_of_rows[order]))


def columns_of_many(
    frame: Frame, found: PartsOfTexts, raws: Sequence[str], is_frame: NDArray[np.bool_], left_out: Collection[str] = ()
) -> PartColumns:
    """Return the tokens of each part, framed as a sequence of its own.

    Args:
        frame: around each part.
        found: parts of the raw texts; pieces without places if ``left_out`` contains all optional fields.
        raws: (R,) raw texts.
        is_frame: (vocabulary,) ids without text; they are special even if a text spells them.
        left_out: names of fields that are not computed.
    """
    before, after = frame.around(1)
    pieces, sizes = found.pieces, found.pieces.sizes
    lengths = sizes + len(before) + len(after)
    stops = np.cumsum(lengths)
    starts, total = stops - lengths, int(lengths.sum())
    place = ranges(starts + len(before), sizes)  # (N,) of the pieces among all tokens
    is_special = is_frame[pieces.ids]

    def put(values: NDArray[Any], fill: float) -> NDArray[Any]:
        out = np.full((total, *values.shape[1:]), fill, values.dtype)
        out[place] = values
        return out

    content = put(pieces.ids, 0)
    content[starts[:, None] + np.arange(len(before))] = before
    content[(stops - len(after))[:, None] + np.arange(len(after))] = after
    columns: dict[str, NDArray[Any]] = {"special": put(is_special, 1), "document": np.zeros(total, np.int64)}
    if "word" not in left_out and pieces.words is not None:
        columns["word"] = put(np.where(is_special, -1, pieces.words), -1)
    if "sentence" not in left_out and pieces.offsets is not None:
        bounds = zip(found.number.tolist(), found.start.tolist(), found.stop.tolist(), strict=True)
        texts = [raws[int(number)][start:stop] for number, start, stop in bounds]
        columns["sentence"] = put(np.where(is_special, -1, _sentences(texts, pieces.offsets[:, 0], sizes)), -1)
    if "offset" not in left_out and pieces.offsets is not None:
        columns["offset"] = put(pieces.offsets, 0)
    positions = ranges(np.zeros_like(lengths), lengths).astype(np.float32)[:, None]
    parts = np.bincount(found.number, minlength=len(raws)).astype(np.int64)
    return PartColumns(parts, found.start, found.stop, lengths, content, positions, columns)


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
    everywhere = np.concatenate([np.zeros(0, np.int64), *begins]) + np.repeat(first, counts)
    found = np.searchsorted(everywhere, places + np.repeat(first, sizes), side="right")
    return found - np.repeat(np.cumsum(counts) - counts, sizes)
