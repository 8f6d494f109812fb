"""Frequencies shared by sine-cosine and rotary positions."""

from __future__ import annotations

import torch
from torch import Tensor


def frequencies(count: int, temperature: float) -> Tensor:
    """Return (count,) float64 ``temperature ** (-i / count)`` for i = 0 .. count - 1 (Vaswani et al., 2017)."""
    return temperature ** -(torch.arange(count, dtype=torch.float64) / max(count, 1))
