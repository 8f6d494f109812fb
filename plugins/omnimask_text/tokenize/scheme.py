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
    """Ids around the texts of a sequence: ``before`` the first, ``between`` any two, ``after`` the last; each may be empty.

    ``alone`` are the ids before and after a single text where they differ from those around several. ``no_several`` is the reason
    why several texts cannot be framed, if there is one.
    """

    before: Ints
    between: Ints
    after: Ints
    alone: tuple[Ints, Ints] | None = None
    no_several: str = ""

    def around(self, num_texts: int) -> tuple[Ints, Ints]:
        """Ids before the first and after the last of so many texts.

        Raises:
            ValueError: several texts cannot be framed.
        """
        if num_texts > 1 and self.no_several:
            raise ValueError(self.no_several)
        return self.alone if num_texts == 1 and self.alone is not None else (self.before, self.after)

    def size(self, num_texts: int = 1) -> int:
        """How many special tokens frame so many texts."""
        return sum(map(len, self.around(num_texts))) + (num_texts - 1) * len(self.between)


_NONE: Ints = np.zeros(0, np.int64)
NO_FRAME = Frame(_NONE, _NONE, _NONE)


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
