"""Fixed sines and cosines of n-dimensional positions."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from omnimask.components.positions.frequencies import frequencies
from omnimask.components.positions.grid import grid_place, grid_positions, grid_size
from omnimask.interfaces import Context, Module, Placement, Stream


class SinCos(Module):
    """Adds sines and cosines of each position axis to the embeddings; nothing is learned [0], [1].

    The width is shared out evenly over the A axes, the last axis first, each part holding ``width / (2 A)`` sines and then as many
    cosines; channels that do not divide evenly stay zero. For two axes (row, column) this is the table of MAE's reference. Any
    real position has its waves, places beyond a modality's extent too. On CPU, where sines are slow, one modality with bounded
    extents has a table that is made once and serves streams that stay on its grid.

    Args:
        temperature: the longest wavelength is 2 pi times this.

    [0] Vaswani et al.: Attention Is All You Need, 2017. [1] He et al.: Masked Autoencoders, 2021.
    """

    frequency: Tensor
    table: Tensor | None

    def __init__(self, context: Context, *, temperature: Annotated[float, Field(gt=1)] = 10000.0) -> None:
        super().__init__()
        specs = [context.specs[m] for m in context.modalities]
        self.axes = max((spec.axes for spec in specs), default=1)
        self.width = context.width
        count = context.width // (2 * self.axes)
        if count == 0:
            raise ValueError(
                f"width {context.width} is too small for sines and cosines of {self.axes} axes; use at least {2 * self.axes}"
            )
        self.register_buffer("frequency", frequencies(count, temperature).float(), persistent=False)
        self.grid = grid_size(specs[0]) if len(specs) == 1 else None
        table = None
        if self.grid is not None:
            table = torch.cat([self.waves(grid_positions(self.grid)), torch.zeros(1, self.width)])
        self.register_buffer("table", table, persistent=False)

    def waves(self, positions: Tensor) -> Tensor:
        """(n, A) positions -> (n, D)."""
        angle = positions[:, : self.axes].flip(1)[:, :, None] * self.frequency
        table = torch.cat([angle.sin(), angle.cos()], dim=2).flatten(1)
        return torch.nn.functional.pad(table, (0, self.width - table.shape[1]))

    def forward(self, stream: Stream) -> Placement:
        if self.table is None or self.grid is None or not self._is_on_grid(stream.positions):
            return Placement(added=self.waves(stream.positions) * stream.has_position[:, None])
        place = grid_place(stream.positions, self.grid)
        return Placement(added=self.table[torch.where(stream.has_position, place, len(self.table) - 1)])

    def _is_on_grid(self, positions: Tensor) -> bool:
        """Whether the table holds all (T, A) positions; asked on CPU only, since other devices would have to be waited for."""
        assert self.grid is not None
        if positions.device.type != "cpu":
            return False
        positions = positions[:, : self.axes]
        inside = (positions >= 0) & (positions < torch.tensor(self.grid)) & (positions == positions.floor())
        return bool(inside.all())
