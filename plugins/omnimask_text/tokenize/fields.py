"""Arrays of a sequence of texts and its special tokens. n pieces of a text, L tokens of a sequence."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import FieldSpec
from omnimask_text.tokenize.annotations import Kind, Span, lay
from omnimask_text.tokenize.characters import sentence_starts
from omnimask_text.tokenize.scheme import Frame, Ints, Pieces

SPECS: Mapping[str, FieldSpec] = {
    "special": FieldSpec("bool"),
    "word": FieldSpec("int64"),
    "sentence": FieldSpec("int64"),
    "document": FieldSpec("int64"),
    "offset": FieldSpec("int64", shape=(2,)),
}
"""Fields of every text token."""
OPTIONAL = frozenset(("word", "sentence", "offset"))
"""Fields that are left out where nobody reads them."""


@dataclass(frozen=True)
class PiecePlaces:
    """Places of each text's pieces in a framed sequence of ``length`` tokens."""

    texts: tuple[slice, ...]
    length: int

    def put(self, parts: Sequence[NDArray[Any]], fill: float, dtype: type = np.int64) -> NDArray[Any]:
        """Place the texts' arrays (n, ...) in one array (L, ...), with ``fill`` at special tokens."""
        out = np.full((self.length, *parts[0].shape[1:]), fill, dtype)
        for place, part in zip(self.texts, parts, strict=True):
            out[place] = part
        return out


def places(frame: Frame, sizes: Sequence[int]) -> PiecePlaces:
    """Return the places of texts with these numbers of pieces."""
    before, after = frame.around(len(sizes))
    found: list[slice] = []
    start = len(before)
    for size in sizes:
        found.append(slice(start, start + size))
        start += size + len(frame.between)
    return PiecePlaces(tuple(found), found[-1].stop + len(after))


def framed(frame: Frame, where: PiecePlaces, pieces: Sequence[Pieces]) -> Ints:
    """Return (L,) ids."""
    out = where.put([part.ids for part in pieces], 0)
    first, last = where.texts[0].start, where.texts[-1].stop
    out[:first], out[last:] = frame.around(len(pieces))
    for place in where.texts[:-1]:
        out[place.stop : place.stop + len(frame.between)] = frame.between
    return out


def fields(
    frame: Frame,
    where: PiecePlaces,
    texts: Sequence[str],
    pieces: Sequence[Pieces],
    is_frame: NDArray[np.bool_],
    left_out: Collection[str] = (),
) -> dict[str, NDArray[Any]]:
    """Return the arrays of :data:`SPECS`; word and sentence numbers continue from one text to the next.

    Args:
        frame: around the texts.
        where: their places in it.
        texts: as they were read.
        pieces: of each.
        is_frame: (vocabulary,) ids without text; they are special even if a text spells them.
        left_out: names of :data:`OPTIONAL` fields that are not computed.
    """
    is_special = [is_frame[part.ids] for part in pieces]
    found = {"special": where.put(is_special, 1, bool), "document": _documents(frame, where)}
    if "word" not in left_out:
        words = [np.where(special, -1, part.words) for special, part in zip(is_special, pieces, strict=True)]
        found["word"] = where.put(_continued(words), -1)
    if "sentence" not in left_out:
        sentences = [
            np.where(special, -1, np.searchsorted(sentence_starts(text), part.offsets[:, 0], side="right"))
            for special, text, part in zip(is_special, texts, pieces, strict=True)
        ]
        found["sentence"] = where.put(_continued(sentences), -1)
    if "offset" not in left_out:
        found["offset"] = where.put([part.offsets for part in pieces], 0)
    return found


def annotated(
    where: PiecePlaces, pieces: Sequence[Pieces], spans: Mapping[str, Sequence[Sequence[Span]]], kinds: Mapping[str, Kind]
) -> dict[str, NDArray[Any]]:
    """Return the arrays of annotations: span numbers, their classes, or their values; ``spans`` by name and text."""
    found: dict[str, NDArray[Any]] = {}
    for name, kind in kinds.items():
        laid = [lay(each, part.offsets) for each, part in zip(spans[name], pieces, strict=True)]
        numbers = where.put(_continued([number for number, _ in laid], [len(each) for each in spans[name]]), -1)
        values = where.put([value for _, value in laid], np.nan, np.float32)
        found[name] = values if kind == "number" else numbers
        if isinstance(kind, list):
            found[f"{name}.class"] = np.where(np.isnan(values), -1, values).astype(np.int64)
    return found


def _continued(parts: Sequence[Ints], sizes: Sequence[int] | None = None) -> list[Ints]:
    """Continue numbers, -1 for none, from part to part; ``sizes``: how many numbers each part has, None: up to its largest."""
    found: list[Ints] = []
    start = 0
    for index, part in enumerate(parts):
        found.append(np.where(part < 0, -1, part + start) if start else part)
        start += int(part.max(initial=-1)) + 1 if sizes is None else sizes[index]
    return found


def _documents(frame: Frame, where: PiecePlaces) -> Ints:
    """Return document numbers. Special tokens between two texts belong to the first, as with BERT's token types."""
    out = np.zeros(where.length, np.int64)
    for number, place in enumerate(where.texts[1:], start=1):
        out[place.start :] = number
    return out
