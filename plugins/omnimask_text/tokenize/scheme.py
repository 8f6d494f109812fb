"""Schemes: conversion between text and numbered pieces, the variable part of a text tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from omnimask.packed import ranges

Ints = NDArray[np.int64]
_NONE: Ints = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Pieces:
    """The n pieces of one text: ``ids`` (n,); ``offsets`` (n, 2), [start, stop) in characters; ``words`` (n,), nondecreasing
    word indices from 0, or -1 outside of words."""

    ids: Ints
    offsets: Ints
    words: Ints


@dataclass(frozen=True)
class ManyPieces:
    """The N pieces of S texts, one after another: ``ids`` (N,), and ``sizes`` (S,), the pieces of each text.

    ``offsets`` (N, 2) and ``words`` (N,) are those of :class:`Pieces`, in each text from 0, or None.
    """

    ids: Ints
    sizes: Ints
    offsets: Ints | None = None
    words: Ints | None = None

    @staticmethod
    def of(pieces: Sequence[Pieces], *, has_places: bool) -> ManyPieces:
        """Concatenate the pieces of texts."""
        ids = np.concatenate([_NONE, *(part.ids for part in pieces)])
        sizes = np.array([len(part.ids) for part in pieces], np.int64)
        if not has_places:
            return ManyPieces(ids, sizes)
        offsets = np.concatenate([_NONE.reshape(0, 2), *(part.offsets for part in pieces)])
        return ManyPieces(ids, sizes, offsets, np.concatenate([_NONE, *(part.words for part in pieces)]))

    def take(self, texts: Ints) -> ManyPieces:
        """Return the pieces of the texts (S',)."""
        begins = np.cumsum(self.sizes) - self.sizes
        index = ranges(begins[texts], self.sizes[texts])
        places = (None if values is None else values[index] for values in (self.offsets, self.words))
        return ManyPieces(self.ids[index], self.sizes[texts], *places)

    def __add__(self, other: ManyPieces) -> ManyPieces:
        """Return the pieces of these texts and then of others; both have places, or neither."""
        places = (
            None if one is None or two is None else np.concatenate([one, two])
            for one, two in ((self.offsets, other.offsets), (self.words, other.words))
        )
        return ManyPieces(np.concatenate([self.ids, other.ids]), np.concatenate([self.sizes, other.sizes]), *places)


@dataclass(frozen=True)
class Frame:
    """Ids around the texts of a sequence: ``before`` the first, ``between`` any two, ``after`` the last; each may be empty.

    ``alone`` are the ids before and after a single text if they differ from those around several. ``no_several`` is the reason if
    several texts cannot be framed.
    """

    before: Ints
    between: Ints
    after: Ints
    alone: tuple[Ints, Ints] | None = None
    no_several: str = ""

    def around(self, num_texts: int) -> tuple[Ints, Ints]:
        """Return ids before the first and after the last of ``num_texts`` texts.

        Raises:
            ValueError: several texts cannot be framed.
        """
        if num_texts > 1 and self.no_several:
            raise ValueError(self.no_several)
        return self.alone if num_texts == 1 and self.alone is not None else (self.before, self.after)

    def size(self, num_texts: int = 1) -> int:
        """Return the number of special tokens around ``num_texts`` texts."""
        return sum(map(len, self.around(num_texts))) + (num_texts - 1) * len(self.between)


NO_FRAME = Frame(_NONE, _NONE, _NONE)


CONTENT_USES = ("unk", "mask")
"""Special tokens with text: they are predicted and shown like any other token."""


class Encodes(Protocol):
    """Conversion of text to pieces."""

    def encode(self, text: str) -> Pieces:
        """Return the pieces of a text, without special tokens around it."""
        ...

    def encode_many(self, texts: Sequence[str]) -> Sequence[Pieces]:
        """Return the pieces of each text."""
        ...

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return the number of pieces of each text."""
        ...


class Scheme(Encodes, Protocol):
    """Conversion between text and ids. Picklable.

    ``vocabulary`` is one more than the largest id. ``special_ids`` are special tokens by use (mask, cls, sep, pad, unk, bos, eos);
    ``frame_ids`` (m,) are those of special tokens without text; ``frame`` surrounds texts.
    """

    vocabulary: int
    special_ids: Mapping[str, int]
    frame_ids: Ints
    frame: Frame

    def ids_many(self, texts: Sequence[str]) -> tuple[Ints, Ints]:
        """Return the ids of the pieces of all texts (N,), and the number of pieces of each (S,)."""
        ...

    def decode(self, ids: Ints) -> str:
        """Return the text of pieces."""
        ...

    def fingerprint(self) -> str:
        """Return a digest of the vocabulary and its rules, independent of their location."""
        ...
