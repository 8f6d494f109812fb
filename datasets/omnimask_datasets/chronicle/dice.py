"""Random choices that are pure functions of a name, equal in every version of Python and its libraries."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """Throws determined by a name and the number of earlier throws."""

    def __init__(self, *name: str | int) -> None:
        self._name = "/".join(map(str, name))
        self._thrown = 0

    def below(self, count: int) -> int:
        """Return a number in [0, count)."""
        digest = blake2b(f"{self._name}:{self._thrown}".encode(), digest_size=8).digest()
        self._thrown += 1
        return int.from_bytes(digest, "big") % count

    def between(self, low: int, high: int) -> int:
        """Return a number in [low, high]."""
        return low + self.below(high - low + 1)

    def one(self, values: Sequence[T]) -> T:
        """Return one of the values."""
        return values[self.below(len(values))]

    def some(self, values: Sequence[T], count: int) -> list[T]:
        """Return ``count`` different values in random order, or all if there are fewer."""
        left, chosen = list(values), []
        while left and len(chosen) < count:
            chosen.append(left.pop(self.below(len(left))))
        return chosen
