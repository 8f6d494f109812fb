"""Indices into concatenated sequences."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Concatenate ``arange(start, start + length)`` of every sequence; (sum of lengths,)."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    # Places in the output, shifted by the difference between a sequence's start and its place there.
    return np.arange(total, dtype=np.int64) + np.repeat(starts - (ends - lengths), lengths)
