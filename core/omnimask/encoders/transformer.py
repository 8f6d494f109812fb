"""The packed transformer. T slots, S sequences, D width, R summary tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from omnimask.attention import AttentionPlan
from omnimask.blocks import Block, Rotation, Stack, check_heads, initialise
from omnimask.component import Component, named
from omnimask.interfaces import Context, Encoded, Layout, MaskedBatch, Module, Packed, Position, Stream
from omnimask.packed import index_tensor, interleave


class TransformerEncoder(Module):
    """A pre-norm vision-transformer-style encoder [0] for streams of any modality, length and visibility.

    Args:
        width: D, features per token.
        depth: number of blocks.
        heads: attention heads; they share the width evenly.
        mlp_ratio: hidden width of the MLPs in units of ``width``.
        position: how slots know their place.
        summary: learned tokens put before every sequence (one is ViT's class token); their features are the summary.
        norm_eps: epsilon of the layer norms.

    [0] Dosovitskiy et al.: An Image is Worth 16x16 Words, 2020.
    """

    smoke: ClassVar[Any] = {"width": 32, "depth": 2, "heads": 2}

    def __init__(
        self,
        context: Context,
        *,
        width: Annotated[int, Field(gt=0)],
        depth: Annotated[int, Field(gt=0)],
        heads: Annotated[int, Field(gt=0)],
        mlp_ratio: Annotated[float, Field(gt=0)] = 4.0,
        position: Component[Position] = named("position", "sincos"),  # noqa: B008
        summary: Annotated[int, Field(ge=0)] = 0,
        norm_eps: Annotated[float, Field(gt=0)] = 1e-6,
    ) -> None:
        super().__init__()
        head_width = check_heads(width, heads)
        self.width, self.depth, self.num_summary = width, depth, summary
        self.stack = Stack([Block(width, heads, mlp_ratio=mlp_ratio, norm_eps=norm_eps) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        initialise(self)
        self.position = position(dataclasses.replace(context, width=width, num_heads=heads, head_width=head_width))
        self.summary = nn.Parameter(torch.randn(summary, width) * 0.02) if summary else None
        self.no_weight_decay = {"summary"}

    def forward(
        self, embedded: Packed, stream: Stream, batch: MaskedBatch, *, context: Encoded | None = None, layers: Sequence[int] = ()
    ) -> Encoded:
        if context is not None:
            raise ValueError("encoder transformer reads no context; an encoder with cross-attention does")
        placement = self.position(stream)
        x_TD = embedded.data if placement.added is None else embedded.data + placement.added
        if self.summary is None:
            x_TD, taps = self.stack(x_TD, AttentionPlan.of(stream), placement.rotation, layers=layers)
            return Encoded(Packed(self.norm(x_TD), stream.layout), stream, taps)
        return self._with_summary(x_TD, stream, placement.rotation, layers)

    def _with_summary(self, x_TD: Tensor, stream: Stream, rotation: Rotation | None, layers: Sequence[int]) -> Encoded:
        if stream.layout.attention != "full":
            raise ValueError(
                f"summary tokens need full attention, and this stream's is {stream.layout.attention}; set summary: 0"
            )
        assert self.summary is not None
        sequences, count = stream.layout.num_sequences, self.num_summary
        head = Layout(np.full(sequences, count), stream.layout.parent)
        layout, order = interleave([head, stream.layout])
        order = index_tensor(order, x_TD.device)
        summary = self.summary.to(x_TD.dtype).repeat(sequences, 1)
        if rotation is not None:
            cos, sin = rotation
            ahead = cos.new_ones(sequences * count, cos.shape[1])
            rotation = torch.cat([ahead, cos])[order], torch.cat([torch.zeros_like(ahead), sin])[order]
        x_TD, taps = self.stack(torch.cat([summary, x_TD])[order], AttentionPlan(layout), rotation, layers=layers)
        back = torch.empty_like(order).index_copy(0, order, torch.arange(len(order), device=order.device))
        x_TD = self.norm(x_TD)[back]
        first = sequences * count
        taps = {number: tap[back[first:]] for number, tap in taps.items()}
        return Encoded(Packed(x_TD[first:], stream.layout), stream, taps, x_TD[:first].unflatten(0, (sequences, count)))
