"""Rotary positions of queries and keys."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from omnimask.components.positions.frequencies import frequencies
from omnimask.interfaces import Context, Module, Placement, Stream


class Rotary(Module):
    """Rotation of pairs of channels of queries and keys by angles proportional to the position [0]; n-dimensional.

    The channels of a head are paired (i, i + half). Pairs are divided evenly over the position axes, and remaining pairs are not
    rotated. A slot without a position is not rotated, which equals position 0, so a recipe that withholds positions is refused: use
    ``sincos`` or ``learned``.

    Args:
        temperature: base of the wavelengths.

    [0] Su et al.: RoFormer, 2021.
    """

    needs_positions: ClassVar[bool] = True
    frequency: Tensor

    def __init__(self, context: Context, *, temperature: Annotated[float, Field(gt=1)] = 10000.0) -> None:
        super().__init__()
        self.axes = max((context.specs[m].axes for m in context.modalities), default=1)
        if context.head_width % 2:
            raise ValueError(
                f"rotary positions need an even head width, got {context.head_width}; choose heads so that width / heads is even"
            )
        self.pairs, self.temperature = context.head_width // 2, temperature
        if self.pairs < self.axes:
            raise ValueError(
                f"rotary positions need a pair of channels for each of {self.axes} axes, but a head has {context.head_width}; "
                f"choose fewer heads: width / heads of at least {2 * self.axes}"
            )
        self.register_buffer("frequency", frequencies(self.pairs // self.axes, temperature).float(), persistent=False)

    def forward(self, stream: Stream) -> Placement:
        # Position 0 is a rotation by angle 0.
        positions = stream.positions[:, : self.axes] * stream.has_position[:, None]
        angle = (positions[:, :, None] * self.frequency).flatten(1)
        # (T, pairs), angle 0 for the remaining pairs; then (T, d), once for each channel of a pair (i, i + half).
        angle = torch.nn.functional.pad(angle, (0, self.pairs - angle.shape[1])).repeat(1, 2)
        return Placement(rotation=(angle.cos(), angle.sin()))
