"""The transformer over packed sequences. T slots, S sequences, D width."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from omnimask.component import Component, named
from omnimask.components.encoders.base import SelfAttentionEncoder
from omnimask.components.positions.trial import check_placement
from omnimask.interfaces import Context, Encoded, Layout, MaskedBatch, Placement, Position, Stream
from omnimask.network.attention_plan import AttentionPlan
from omnimask.network.blocks import Block, Rotation, Stack, Wanted, asked_rows, check_heads, encoded, initialise
from omnimask.network.embed import ModalitySlots, make_modality_embedding
from omnimask.network.layers import MLPKind, NormKind, make_norm
from omnimask.packed import index_tensor, interleave


class TransformerEncoder(SelfAttentionEncoder):
    """A pre-norm encoder in the style of vision transformers [0] for streams of any modality, length and visibility.

    Evaluation pools the summary tokens' features, or takes the mean of the other slots'. Registers [1] are further learned tokens
    whose features are not read: they provide working memory and are dropped after the last block.

    Args:
        width: D, features per token.
        depth: number of blocks.
        heads: attention heads, which divide the width evenly.
        mlp_ratio: hidden width of the MLPs in units of ``width``; ``swiglu`` has two thirds of it, rounded up to a multiple of 8,
            so that both kinds have the same number of weights [2].
        position: position component.
        summary: number of learned tokens before every sequence (one is ViT's class token); their features are the summary.
        registers: number of learned tokens after those, discarded after the encoder.
        norm: ``layer`` or ``rms`` [3].
        norm_eps: epsilon of the norms.
        mlp: ``gelu`` or ``swiglu`` [2].
        qk_norm: normalizes queries and keys per head, which bounds the attention logits [4].
        drop_path: during training, the probability of a sequence to skip a branch of the last block; it grows linearly from 0 in
            the first one [5]. Drawn from torch's generator: a different split of a batch draws different numbers.
        modality_embedding: slots that receive a learned vector of their modality in recipes with several modalities: ``hidden``
            ones, which show no content, ``all`` or ``none``.

    [0] Dosovitskiy et al.: An Image is Worth 16x16 Words, 2020. [1] Darcet et al.: Vision Transformers Need Registers, 2023.
    [2] Shazeer: GLU Variants Improve Transformer, 2020. [3] Zhang, Sennrich: Root Mean Square Layer Normalization, 2019.
    [4] Dehghani et al.: Scaling Vision Transformers to 22 Billion Parameters, 2023. [5] Huang et al.: Deep Networks with Stochastic
    Depth, 2016.
    """

    name = "transformer"
    smoke: ClassVar[Any] = {"width": 32, "depth": 2, "heads": 2, "registers": 2}

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
        registers: Annotated[int, Field(ge=0)] = 0,
        norm: NormKind = "layer",
        norm_eps: Annotated[float, Field(gt=0)] = 1e-6,
        mlp: MLPKind = "gelu",
        qk_norm: bool = False,
        drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        modality_embedding: ModalitySlots = "hidden",
    ) -> None:
        super().__init__()
        head_width = check_heads(width, heads)
        self.width, self.depth, self.num_summary = width, depth, summary
        blocks = [
            Block(width, heads, mlp_ratio=mlp_ratio, norm_eps=norm_eps, norm=norm, mlp=mlp, qk_norm=qk_norm) for _ in range(depth)
        ]
        self.stack = Stack(blocks, drop_path)
        self.norm = make_norm(norm, width, norm_eps)
        initialise(self)
        self.position = position(dataclasses.replace(context, width=width, num_heads=heads, head_width=head_width))
        if summary or registers:
            reader = "an encoder with summary tokens or registers"
            check_placement(self.position, context.specs, reader, "added", "rotation")
        self.summary = nn.Parameter(torch.randn(summary, width) * 0.02) if summary else None
        self.registers = nn.Parameter(torch.randn(registers, width) * 0.02) if registers else None
        self.no_weight_decay = {"summary", "registers"}
        self.modalities = make_modality_embedding(context, width, modality_embedding)

    def encode(self, x_TD: Tensor, placement: Placement, stream: Stream, batch: MaskedBatch, wanted: Wanted) -> Encoded:
        x_TD = x_TD if placement.added is None else x_TD + placement.added
        if self.summary is None and self.registers is None:
            rows = asked_rows(stream, wanted.only_asked and placement.bias is None)
            x_TD, taps = self.stack(x_TD, AttentionPlan.of(stream, placement.bias), placement.rotation, wanted=wanted, rows=rows)
            return encoded(self.norm(x_TD), stream, taps, rows)
        return self._with_learned(x_TD, stream, placement.unbiased("an encoder with summary tokens or registers").rotation, wanted)

    def _with_learned(self, x_TD: Tensor, stream: Stream, rotation: Rotation | None, wanted: Wanted) -> Encoded:
        """Encode with summary tokens and registers before every sequence."""
        if stream.layout.attention != "full":
            raise ValueError(
                f"summary tokens and registers need full attention, but this stream has {stream.layout.attention} attention; "
                "set summary: 0 and registers: 0"
            )
        learned = torch.cat([part for part in (self.summary, self.registers) if part is not None])
        sequences, count = stream.layout.num_sequences, len(learned)
        head = Layout(np.full(sequences, count), stream.layout.parent)
        layout, order = interleave([head, stream.layout])
        order = index_tensor(order, x_TD.device)
        # The learned tokens have no position: rotation by angle 0 (cos 1, sin 0).
        if rotation is not None:
            cos, sin = rotation
            ahead = cos.new_ones(sequences * count, cos.shape[1])
            rotation = torch.cat([ahead, cos])[order], torch.cat([torch.zeros_like(ahead), sin])[order]
        before = torch.cat([learned.to(x_TD.dtype).repeat(sequences, 1), x_TD])[order]
        x_TD, taps = self.stack(before, AttentionPlan(layout), rotation, wanted=wanted)
        # Inverse permutation: learned tokens of all sequences, then the slots in packed order.
        back = torch.empty_like(order).index_copy(0, order, torch.arange(len(order), device=order.device))
        x_TD = self.norm(x_TD)[back]
        first = sequences * count
        # (S, summary + registers, D); registers are discarded.
        summary = x_TD[:first].unflatten(0, (sequences, count))[:, : self.num_summary] if self.num_summary else None
        return encoded(x_TD[first:], stream, taps.at(back[first:]), summary=summary)
