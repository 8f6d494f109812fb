"""Fixed sine-cosine embeddings of n-dimensional positions."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from omnimask.components.positions.frequencies import frequencies
from omnimask.components.positions.grid import grid_place, grid_positions, grid_size
from omnimask.interfaces import Context, Module, Placement, Stream


class SinCos(Module):
    """Sines and cosines of each position axis, added to the embeddings, without learned parameters [0], [1].

    The width is divided evenly over the A axes, the last axis first. Each part has ``width / (2 A)`` sines followed by as many
    cosines; remaining channels are zero. For two axes (row, column) this equals the table of MAE's reference. All real positions
    are supported, including those beyond a modality's extent. On CPU, where sines are slow, a single modality with bounded extents
    uses a precomputed table for streams on its grid.

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
                f"width {context.width} is too small for sine-cosine positions of {self.axes} axes; use at least {2 * self.axes}"
            )
        self.register_buffer("frequency", frequencies(count, temperature).float(), persistent=False)
        self.grid = grid_size(specs[0]) if len(specs) == 1 else None
        table = None
        if self.grid is not None:
            # The last row, zeros, serves slots without a position.
            table = torch.cat([self.waves(grid_positions(self.grid)), torch.zeros(1, self.width)])
        self.register_buffer("table", table, persistent=False)

    def waves(self, positions: Tensor) -> Tensor:
        """Map positions (n, A) to (n, D)."""
        # (n, A, frequencies), the last axis first as in MAE's table.
        angle = positions[:, : self.axes].flip(1)[:, :, None] * self.frequency
        table = torch.cat([angle.sin(), angle.cos()], dim=2).flatten(1)
        return torch.nn.functional.pad(table, (0, self.width - table.shape[1]))

    def forward(self, stream: Stream) -> Placement:
        if self.table is None or self.grid is None or not self._is_on_grid(stream.positions):
            return Placement(added=self.waves(stream.positions) * stream.has_position[:, None])
        place = grid_place(stream.positions, self.grid)
        return Placement(added=self.table[torch.where(stream.has_position, place, len(self.table) - 1)])

    def _is_on_grid(self, positions: Tensor) -> bool:
        """Return whether the table covers all positions (T, A). Checked on CPU only, because other devices would synchronize."""
        assert self.grid is not None
        if positions.device.type != "cpu":
            return False
        positions = positions[:, : self.axes]
        inside = (positions >= 0) & (positions < torch.tensor(self.grid)) & (positions == positions.floor())
        return bool(inside.all())
