"""Wholes whose consecutive parts are the samples of a data set. W wholes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 20
"""Wholes to look at at once."""


@dataclass(frozen=True)
class WholeParts:
    """Keys of wholes, and their parts.

    Args:
        key: returns the key of a whole that has parts, by its number; picklable where processes are not forked.
        first: (W + 1,) number of each whole's first part, then that of all parts.
        identity: returns a text that differs whenever a key may have changed.
    """

    key: Callable[[int], str]
    first: NDArray[Any]
    identity: Callable[[], str]

    def __len__(self) -> int:
        return len(self.first) - 1

    def present(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the numbers in ``[start, stop)`` of wholes that have parts."""
        return start + np.flatnonzero(self.first[start + 1 : stop + 1] != self.first[start:stop])

    def counted(self) -> tuple[int, str]:
        """Return the number of wholes that have parts, and a digest of their numbers."""
        count, digest = 0, blake2b(digest_size=16)
        for start in range(0, len(self), _BLOCK):
            stop = min(start + _BLOCK, len(self))
            has_parts = self.first[start + 1 : stop + 1] != self.first[start:stop]
            count += int(np.count_nonzero(has_parts))
            digest.update(np.packbits(has_parts).tobytes())
        return count, digest.hexdigest()


@runtime_checkable
class KnowsWholes(Protocol):
    """Optional interface of data sets whose samples are the consecutive parts of wholes."""

    def wholes(self) -> WholeParts: ...
