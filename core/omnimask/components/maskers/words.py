"""Words, the elements of spans and n-grams: numbered by a token field, or single tokens. W words, L tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import Tokens


@dataclass(frozen=True)
class Words:
    """Runs of adjacent tokens that are hidden as a whole, in order.

    ``start``, ``size`` (W,) in tokens; ``follows`` (W,) whether a word begins at the end of the previous one. ``length`` L.
    """

    start: NDArray[np.int64]
    size: NDArray[np.int64]
    follows: NDArray[np.bool_]
    length: int

    def __len__(self) -> int:
        return len(self.start)

    def units(self, pieces: list[tuple[int, int]]) -> NDArray[np.int64]:
        """Return (L,) index of each token's piece, in token order, -1 for none. Pieces are [first, last) words and never empty."""
        unit = np.full(self.length, -1, np.int64)
        for number, (first, last) in enumerate(sorted(pieces)):
            unit[self.start[first] : self.start[last - 1] + self.size[last - 1]] = number
        return unit


def words_of(tokens: Tokens, field: str | None) -> Words:
    """Return the words numbered by ``field``, without tokens outside of words (negative numbers); single tokens if it is None."""
    length = len(tokens)
    if field is None:
        start = np.arange(length)
        return Words(start, np.ones(length, np.int64), start > 0, length)
    number = np.asarray(tokens.fields[field], np.int64)
    is_first = (number >= 0) & np.concatenate([np.ones(min(length, 1), bool), number[1:] != number[:-1]])
    start = np.flatnonzero(is_first)
    size = np.bincount(np.cumsum(is_first)[number >= 0] - 1, minlength=len(start))
    # Words are contiguous if no token outside of words lies between them.
    follows = np.concatenate([np.zeros(min(len(start), 1), bool), start[1:] == start[:-1] + size[:-1]])
    return Words(start, size, follows, length)
