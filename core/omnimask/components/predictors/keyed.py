"""Random numbers on the device, by a hash of ``Stream.noise``: independent of packing and of torch's generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor

GOLDEN, _MIX_1, _MIX_2 = (value - (1 << 64) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
"""Constants of SplitMix64 as int64."""
_LARGEST = 1 << 22
"""Numbers that are hashed at once: 32 MiB in each intermediate step."""


def keys_of(noise: Tensor) -> Tensor:
    """Return int64 keys of uniform float64 numbers in [0, 1): all of their 53 random bits."""
    return (noise * 2.0**53).long()


def mixed(state: Tensor) -> Tensor:
    """Return uniform numbers in [0, 1) from int64 states with wrap-around arithmetic (SplitMix64's output function)."""
    # The upper 53 bits fill the mantissa of a float64.
    return _shifted(_hashed(state), 11).double() * 2.0**-53


@torch.no_grad()
def normal(keys: Tensor, place: Tensor, width: int) -> Tensor:
    """Return (n, width) float32 numbers from N(0, 1), of 2^24 possible values up to 5.4.

    Args:
        keys: (n,) int64, see :func:`keys_of`.
        place: (n,) int64, at least 0; rows of one key differ in it.
        width: numbers of a row.
    """
    half = (width + 1) // 2  # a hash gives two numbers
    out = torch.empty(len(keys), width, device=keys.device)
    column = torch.arange(1, half + 1, device=keys.device)
    rows = max(1, _LARGEST // max(width, 1))
    for start in range(0, len(keys), rows):
        part = slice(start, start + rows)
        bits = _hashed(keys[part, None] + (place[part, None] * half + column) * GOLDEN)
        out[part, :half] = _normal_of(_shifted(bits, 40))
        out[part, half:] = _normal_of(_shifted(bits, 16) & 0xFFFFFF)[:, : width - half]
    return out


def _normal_of(bits: Tensor) -> Tensor:
    """Map whole numbers below 2^24 to the quantiles of N(0, 1) in the middle of their shares."""
    # Whole numbers below 2^25 are exact in float32; the ends -1 and 1, where the quantile is infinite, are not reached.
    return (((bits * 2 + 1 - (1 << 24)).float()).mul_(2.0**-24)).erfinv_().mul_(math.sqrt(2))


def _hashed(state: Tensor) -> Tensor:
    for shift, factor in ((30, _MIX_1), (27, _MIX_2)):
        state = (state ^ _shifted(state, shift)) * factor
    return state ^ _shifted(state, 31)


def _shifted(state: Tensor, by: int) -> Tensor:
    """Shift right as an unsigned integer."""
    return (state >> by) & ((1 << (64 - by)) - 1)
