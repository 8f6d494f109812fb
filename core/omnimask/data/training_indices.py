"""Indices of the training samples: all but the held-out ones. Memory grows with these alone. N samples, H of them held out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BLOCK = 1 << 20
"""Indices to make at once."""


class TrainingIndices:
    """Ascending indices in ``[0, N)`` without the held-out ones, read like an int64 array (N - H,).

    Args:
        total: N.
        held_out: (H,) ascending, distinct indices.
    """

    def __init__(self, total: int, held_out: NDArray[np.integer]) -> None:
        self.total = total
        kind = np.min_scalar_type(total)
        # (H,) number of training samples before each held-out sample
        self._before: NDArray[np.integer] = (held_out - np.arange(len(held_out))).astype(kind)

    @staticmethod
    def of(indices: ArrayLike) -> TrainingIndices:
        """Return the same indices.

        Raises:
            ValueError: they are not increasing from at least 0.
        """
        found = np.array(indices, np.int64)
        if (np.diff(found, prepend=-1) <= 0).any():
            raise ValueError("indices must be increasing")
        total = int(found[-1]) + 1 if len(found) else 0
        return TrainingIndices(total, np.setdiff1d(np.arange(total), found, assume_unique=True))

    @property
    def held_out(self) -> NDArray[np.int64]:
        """The other indices, (H,)."""
        return self._before.astype(np.int64) + np.arange(len(self._before))

    def __len__(self) -> int:
        return self.total - len(self._before)

    def __iter__(self) -> Iterator[int]:
        for block in blocks(self):
            yield from block.tolist()

    @overload
    def __getitem__(self, places: int) -> int: ...
    @overload
    def __getitem__(self, places: slice | NDArray[np.integer]) -> NDArray[np.int64]: ...
    def __getitem__(self, places: int | slice | NDArray[np.integer]) -> int | NDArray[np.int64]:
        """Return the indices at some places.

        Raises:
            IndexError: a place is outside ``[0, len(self))``; a single one may also count from the end.
        """
        if isinstance(places, slice):
            start, stop, step = places.indices(len(self))
            return self._from(start, stop) if step == 1 and start < stop else self._at(np.arange(start, stop, step))
        if isinstance(places, np.ndarray):
            if len(places) and not 0 <= int(places.min()) <= int(places.max()) < len(self):
                raise IndexError(f"places {places.min()} to {places.max()} are out of range for {len(self)} indices")
            return self._at(places.astype(np.int64))
        if not -len(self) <= places < len(self):
            raise IndexError(f"place {places} is out of range for {len(self)} indices")
        return int(self._at(np.array([places % len(self)]))[0])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return all indices as an array."""
        del copy
        found = np.ones(self.total, np.bool_)
        found[self.held_out] = False
        return np.flatnonzero(found).astype(dtype or np.int64, copy=False)

    def tolist(self) -> list[int]:
        return np.asarray(self).tolist()

    def max(self) -> int:
        """Return the largest index.

        Raises:
            IndexError: there is none.
        """
        return self[-1]

    def num_below(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of training samples below each of some indices."""
        return np.minimum(indices, self.total) - np.searchsorted(self.held_out, indices)

    def _from(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the indices at consecutive places, without a search for each."""
        first, last = self._at(np.array([start, stop - 1])).tolist()
        numbers = np.arange(first - start, last - (stop - 1))  # of the held-out samples between them
        return np.delete(np.arange(first, last + 1), self._before[numbers].astype(np.int64) + numbers - first)

    def _at(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        # Numbers of another type would make NumPy copy the whole column.
        return places + np.searchsorted(self._before, places.astype(self._before.dtype), side="right")


Indices: TypeAlias = NDArray[np.int64] | TrainingIndices
"""Data set indices of samples."""


def blocks(indices: Indices) -> Iterator[NDArray[np.int64]]:
    """Yield the indices in arrays of at most about a million."""
    for start in range(0, len(indices), _BLOCK):
        yield indices[start : start + _BLOCK]


def tokens_in(counts: NDArray[np.integer], indices: Indices) -> tuple[int, int, int]:
    """Return the least, the total and the largest number of tokens of some samples; zeros if there are none.

    Args:
        counts: (data set length,) tokens by data set index.
        indices: of the samples.
    """
    taken = [(int(part.min()), int(part.sum(dtype=np.int64)), int(part.max())) for part in (counts[b] for b in blocks(indices))]
    least, total, largest = zip(*taken, strict=True) if taken else ((0,), (0,), (0,))
    return min(least), sum(total), max(largest)
