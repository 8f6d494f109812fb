"""How text becomes numbered pieces, and pieces text: the part of a text tokenizer that differs from one to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Pieces:
    """The n pieces of one text: ``ids`` (n,); ``offsets`` (n, 2), [start, stop) in characters; ``words`` (n,), numbers of words,
    which begin at 0 and never fall; -1 is no word."""

    ids: Ints
    offsets: Ints
    words: Ints


@dataclass(frozen=True)
class Frame:
    """Ids around the texts of a sequence: ``before`` the first, ``between`` any two, ``after`` the last; each may be empty."""

    before: Ints
    between: Ints
    after: Ints

    def __len__(self) -> int:
        """How many special tokens frame one text."""
        return len(self.before) + len(self.after)

    def size(self, num_texts: int) -> int:
        """How many special tokens frame so many texts."""
        return len(self) + (num_texts - 1) * len(self.between)


NO_FRAME = Frame(*(np.zeros(0, np.int64),) * 3)


CONTENT_USES = ("unk", "mask")
"""Special tokens that stand for text: they are asked for and shown like any other token."""


class Scheme(Protocol):
    """Picklable. ``vocabulary`` is one more than the largest id; ``special_ids`` are special tokens by use (mask, cls, sep, pad,
    unk, bos, eos); ``frame_ids`` (m,) those of special tokens that stand for no text; ``frame`` stands around texts."""

    vocabulary: int
    special_ids: Mapping[str, int]
    frame_ids: Ints
    frame: Frame

    def encode(self, text: str) -> Pieces:
        """The pieces of a text, without special tokens around it."""
        ...

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Number of pieces of each text."""
        ...

    def decode(self, ids: Ints) -> str:
        """The text that pieces stand for."""
        ...

    def fingerprint(self) -> str:
        """Changes with what texts become: the vocabulary and its rules, wherever they were read from."""
        ...
