"""Places on a bounded grid of positions. A axes, T slots."""

from __future__ import annotations

import torch
from torch import Tensor

from omnimask.interfaces import TokenSpec


def grid_size(spec: TokenSpec) -> tuple[int, ...] | None:
    """Return the size of every position axis, or None if one of them is unbounded."""
    sizes = tuple(size for size in spec.extent if size is not None)
    return sizes if len(sizes) == spec.axes else None


def bounded_sizes(spec: TokenSpec, max_length: int) -> tuple[int, ...]:
    """Return the size of every position axis, ``max_length`` for unbounded ones."""
    return tuple(max_length if size is None else size for size in spec.extent or (None,) * spec.axes)


def grid_positions(sizes: tuple[int, ...]) -> Tensor:
    """Return (product of sizes, A) float32 positions of all places, the last axis fastest."""
    axes = [torch.arange(size, dtype=torch.float32) for size in sizes]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)


def grid_place(positions: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Map positions (T, A) to (T,) indices of places, the last axis fastest."""
    index = positions.long()
    place = torch.zeros_like(index[:, 0])
    for axis, length in enumerate(sizes):
        place = place * length + index[:, axis]
    return place
