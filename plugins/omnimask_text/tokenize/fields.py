"""Arrays of a sequence of texts and the special tokens around them. n pieces of a text, L tokens of a sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
"""What every token of text comes with."""


@dataclass(frozen=True)
class Places:
    """Where the pieces of each text stand in a framed sequence of ``length`` tokens."""

    texts: tuple[slice, ...]
    length: int

    def put(self, parts: Sequence[NDArray[Any]], fill: float, dtype: type = np.int64) -> NDArray[Any]:
        """(L, ...) the arrays (n, ...) of the texts, and ``fill`` at special tokens."""
        out = np.full((self.length, *parts[0].shape[1:]), fill, dtype)
        for place, part in zip(self.texts, parts, strict=True):
            out[place] = part
        return out


def places(frame: Frame, sizes: Sequence[int]) -> Places:
    """The places of texts with these numbers of pieces."""
    before, after = frame.around(len(sizes))
    found: list[slice] = []
    start = len(before)
    for size in sizes:
        found.append(slice(start, start + size))
        start += size + len(frame.between)
    return Places(tuple(found), found[-1].stop + len(after))


def framed(frame: Frame, where: Places, pieces: Sequence[Pieces]) -> Ints:
    """(L,) ids."""
    out = where.put([part.ids for part in pieces], 0)
    first, last = where.texts[0].start, where.texts[-1].stop
    out[:first], out[last:] = frame.around(len(pieces))
    for place in where.texts[:-1]:
        out[place.stop : place.stop + len(frame.between)] = frame.between
    return out


def fields(
    frame: Frame, where: Places, texts: Sequence[str], pieces: Sequence[Pieces], is_frame: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    """The arrays of :data:`SPECS`; numbers of words and sentences go on from one text to the next.

    Args:
        frame: around the texts.
        where: their places in it.
        texts: as they were read.
        pieces: of each.
        is_frame: (vocabulary,) ids that carry no text; they are special where a text spells them, too.
    """
    is_special = [is_frame[part.ids] for part in pieces]
    words = [np.where(special, -1, part.words) for special, part in zip(is_special, pieces, strict=True)]
    sentences = [
        np.where(special, -1, np.searchsorted(sentence_starts(text), part.offsets[:, 0], side="right"))
        for special, text, part in zip(is_special, texts, pieces, strict=True)
    ]
    return {
        "special": where.put(is_special, 1, bool),
        "word": where.put(_continued(words), -1),
        "sentence": where.put(_continued(sentences), -1),
        "document": _documents(frame, where),
        "offset": where.put([part.offsets for part in pieces], 0),
    }


def annotated(
    where: Places, pieces: Sequence[Pieces], spans: Mapping[str, Sequence[Sequence[Span]]], kinds: Mapping[str, Kind]
) -> dict[str, NDArray[Any]]:
    """The arrays of annotations: the spans' numbers, their classes, or their values; ``spans`` by name and text."""
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
    """Numbers, -1 for none, that go on from part to part; ``sizes``: how many numbers each part has, None: up to its largest."""
    found: list[Ints] = []
    start = 0
    for index, part in enumerate(parts):
        found.append(np.where(part < 0, -1, part + start) if start else part)
        start += int(part.max(initial=-1)) + 1 if sizes is None else sizes[index]
    return found


def _documents(frame: Frame, where: Places) -> Ints:
    """Special tokens between two texts belong to the first, as the token types of BERT have it."""
    out = np.zeros(where.length, np.int64)
    for number, place in enumerate(where.texts[1:], start=1):
        out[place.start :] = number
    return out
