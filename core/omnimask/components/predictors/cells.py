"""Cells of position grids, one grid for each context sequence. S sequences, C cells of all grids, T slots, A axes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omnimask.components.positions.grid import grid_place, grid_size
from omnimask.interfaces import Layout, Stream, TokenSpec
from omnimask.packed import index_tensor, ranges

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Grid:
    """The grid of a modality.

    Attributes:
        name: of the modality.
        number: its index among the recipe's.
        axes: A.
        sizes: of the axes; None for a single unbounded axis, whose size is a sample's number of tokens.
        reach: cells on either side that a convolution reads.
    """

    name: str
    number: int
    axes: int
    sizes: tuple[int, ...] | None
    reach: int

    @classmethod
    def of(cls, specs: Mapping[str, TokenSpec], name: str, kernel: int) -> Grid:
        """Return the grid of a modality.

        Raises:
            ValueError: it has several axes of which one is unbounded, or more than three.
        """
        spec = specs[name]
        sizes = grid_size(spec)
        if spec.axes > 3 or (sizes is None and spec.axes > 1):
            raise ValueError(
                f"predictor conv_decoder needs a grid, but {name!r} has {spec.axes} position axes with extent "
                f"{list(spec.extent) or 'unbounded'}; use a tokenizer with a fixed grid of up to three axes, or another predictor "
                "(decoder)"
            )
        return cls(name, list(specs).index(name), spec.axes, sizes, kernel // 2)

    def cells(self, context: Layout, store: Layout) -> Cells:
        """Return the cells of all context sequences; ``store`` is the modality's layout of clean tokens by sample."""
        count = context.num_sequences
        if self.axes > 1:
            assert self.sizes is not None
            size = math.prod(self.sizes)
            sizes = np.full(count, size)
            return Cells(self, np.arange(count) * size, sizes, count * size, (count, *self.sizes), None)
        sizes = store.lengths[context.parent] if self.sizes is None else np.full(count, self.sizes[0])
        # One long row, in which zeros as many as a convolution reaches separate the sequences.
        start = np.cumsum(sizes + self.reach) - sizes - self.reach
        total = int((sizes + self.reach).sum())
        is_real = np.zeros(total, bool)
        is_real[ranges(start, sizes)] = True
        return Cells(self, start, sizes, total, (1, total), is_real)


@dataclass(frozen=True)
class Cells:
    """Cells of all grids, one grid after another; host data.

    Attributes:
        grid: of the modality.
        start: (S,) first cell of each sequence.
        sizes: (S,) cells of each sequence.
        count: C, including those between sequences.
        shape: of the cells as a batch of grids.
        is_real: (C,) False for cells between sequences; None if there are none.
    """

    grid: Grid
    start: Ints
    sizes: Ints
    count: int
    shape: tuple[int, ...]
    is_real: NDArray[np.bool_] | None

    @property
    def num_sequences(self) -> int:
        return len(self.start)

    def owners(self) -> tuple[Ints, Ints]:
        """Return the sequence of every cell (C,), and its place in the sequence's grid."""
        lengths = np.diff(np.append(self.start, self.count))
        return np.repeat(np.arange(self.num_sequences), lengths), ranges(np.zeros_like(lengths), lengths)

    def of(self, stream: Stream, parent: Ints | None = None) -> Tensor:
        """Return the cell (T,) of every slot of a stream; C for slots of other modalities and without a position.

        Args:
            stream: with the context's sequences, or with queries of them.
            parent: (S',) context sequence of each of its sequences; None for the context itself.

        Raises:
            ValueError: a position lies outside its grid. Checked on CPU only, because other devices would synchronize; there, the
                index fails.
        """
        parent = np.arange(self.num_sequences) if parent is None else parent
        owner = np.repeat(parent, stream.layout.lengths)
        device = stream.positions.device
        start, size = (index_tensor(part[owner], device) for part in (self.start, self.sizes))
        positions = stream.positions[:, : self.grid.axes].floor()
        limits = size[:, None] if self.grid.sizes is None else index_tensor(np.array(self.grid.sizes), device)
        is_here = stream.has_position & (stream.modality == self.grid.number)
        is_inside = ((positions >= 0) & (positions < limits)).all(1)
        if device.type == "cpu" and bool((is_here & ~is_inside).any()):
            self._refuse(positions[is_here & ~is_inside][0].tolist(), int(size[is_here & ~is_inside][0]))
        place = positions[:, 0].long() if self.grid.sizes is None else grid_place(positions, self.grid.sizes)
        # C + 1 is out of range for the cells and the one row after them.
        return torch.where(is_here, torch.where(is_inside, start + place, self.count + 1), self.count)

    def _refuse(self, position: list[float], size: int) -> None:
        there = f"the grid {list(self.grid.sizes)}" if self.grid.sizes else f"a sample of {size} tokens"
        raise ValueError(
            f"predictor conv_decoder: position {position} of {self.grid.name!r} lies outside {there}; it needs whole positions "
            "that count from 0"
        )


def first_slots(query: Layout, num_parents: int) -> Ints:
    """Return (num_parents,) the first query slot of each context sequence, 0 for those without one."""
    held = np.flatnonzero(query.lengths > 0)
    parents, first = np.unique(query.parent[held], return_index=True)
    out = np.zeros(num_parents, np.int64)
    out[parents] = query.offsets[held[first]]
    return out
