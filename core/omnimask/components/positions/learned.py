"""Learned position embeddings."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from omnimask.components.positions.grid import bounded_sizes, grid_place
from omnimask.interfaces import Context, Module, Placement, Stream


class Learned(Module):
    """A learned vector per place of the position grid, added to the embeddings, with a table per modality; N(0, 0.02) (BERT, ViT).

    Args:
        max_length: size of axes without an extent in the tokenizer's spec. A position beyond it is an error.
    """

    def __init__(
        self, context: Context, *, max_length: Annotated[int, Field(gt=0, description="length of unbounded axes")] = 512
    ) -> None:
        super().__init__()
        self.names = tuple(context.specs)
        self.sizes = {name: bounded_sizes(context.specs[name], max_length) for name in context.modalities}
        self.tables = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(math.prod(sizes), context.width) * 0.02) for name, sizes in self.sizes.items()}
        )
        self.no_weight_decay = {f"tables.{name}" for name in self.sizes}

    def forward(self, stream: Stream) -> Placement:
        added: Tensor | None = None
        for name, sizes in self.sizes.items():
            is_here = (
                stream.has_position if len(self.sizes) == 1 else stream.has_position & (stream.modality == self.names.index(name))
            )
            place = self._place(stream.positions, sizes, is_here, name)
            part = functional.embedding(place, self.tables[name]) * is_here[:, None]  # (T, D)
            added = part if added is None else added + part
        return Placement(added=added)

    def _place(self, positions: Tensor, sizes: tuple[int, ...], is_here: Tensor, name: str) -> Tensor:
        """Return (T,) rows of the table."""
        # Slots of other modalities and without a position read row 0, which the caller zeroes.
        held = torch.where(is_here[:, None], positions[:, : len(sizes)], 0)
        # Other devices would have to synchronize.
        if held.device.type == "cpu" and bool(((held < 0) | (held >= torch.tensor(sizes))).any()):
            reached = held.amax(0).long().tolist()
            raise ValueError(
                f"positions of {name!r} reach {reached}, but learned positions must be less than {list(sizes)}; raise max_length"
            )
        return grid_place(held, sizes)
