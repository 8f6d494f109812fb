"""A transformer that also attends to the features of an earlier pass. T slots, B samples, D width."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field

from omnimask.component import Component, named
from omnimask.interfaces import Context, Encoded, MaskedBatch, Module, Packed, Position, Stream
from omnimask.network.attention_plan import AttentionPlan
from omnimask.network.blocks import Block, Stack, Wanted, check_heads, encoded, initialise
from omnimask.network.embed import ModalitySlots, make_modality_embedding, with_modality
from omnimask.network.layers import MLPKind, NormKind, make_norm
from omnimask.packed import group_by_parent


class CrossTransformerEncoder(Module):
    """A pre-norm transformer whose blocks also attend to the features of an earlier pass, the ``context`` of their pass.

    A block attends to its own stream, then to the context, then applies its MLP. Slots of a sample attend to all of the earlier
    pass's slots of that sample, whatever their number of sequences.

    Args:
        width: D, features per token.
        depth: number of blocks.
        heads: attention heads, which divide the width evenly.
        context_width: width of the earlier pass's features.
        mlp_ratio: hidden width of the MLPs in units of ``width`` (two thirds of it for ``swiglu``).
        position: position component of its own slots; queries of the cross-attention are not rotated.
        norm: ``layer`` or ``rms``.
        norm_eps: epsilon of the norms.
        mlp: ``gelu`` or ``swiglu``.
        qk_norm: normalizes queries and keys per head.
        modality_embedding: slots that receive a learned vector of their modality in recipes with several modalities: ``hidden``
            ones, which show no content, ``all`` or ``none``.
    """

    smoke: ClassVar[Any] = {"width": 32, "depth": 2, "heads": 2, "context_width": 32}
    num_summary = 0

    def __init__(
        self,
        context: Context,
        *,
        width: Annotated[int, Field(gt=0)],
        depth: Annotated[int, Field(gt=0)],
        heads: Annotated[int, Field(gt=0)],
        context_width: Annotated[int, Field(gt=0)],
        mlp_ratio: Annotated[float, Field(gt=0)] = 4.0,
        position: Component[Position] = named("position", "sincos"),  # noqa: B008
        norm: NormKind = "layer",
        norm_eps: Annotated[float, Field(gt=0)] = 1e-6,
        mlp: MLPKind = "gelu",
        qk_norm: bool = False,
        modality_embedding: ModalitySlots = "hidden",
    ) -> None:
        super().__init__()
        self.width, self.depth, self.context_width = width, depth, context_width
        head_width = check_heads(width, heads)
        options: Any = {"mlp_ratio": mlp_ratio, "norm_eps": norm_eps, "norm": norm, "mlp": mlp, "qk_norm": qk_norm}
        self.stack = Stack([Block(width, heads, context_width=context_width, **options) for _ in range(depth)])
        self.norm = make_norm(norm, width, norm_eps)
        initialise(self)
        self.position = position(dataclasses.replace(context, width=width, num_heads=heads, head_width=head_width))
        self.modalities = make_modality_embedding(context, width, modality_embedding)

    def forward(
        self,
        embedded: Packed,
        stream: Stream,
        batch: MaskedBatch,
        *,
        context: Encoded | None = None,
        layers: Sequence[int] = (),
        mlps: Sequence[int] = (),
    ) -> Encoded:
        """Return the features of a stream.

        Raises:
            ValueError: there is no ``context``, or it has another width.
        """
        if context is None:
            raise ValueError("encoder cross_transformer attends to an earlier pass; set context: at its pass")
        if context.features.data.shape[1] != self.context_width:
            raise ValueError(
                f"encoder cross_transformer attends to features of width {self.context_width}, but its context has width "
                f"{context.features.data.shape[1]}; set context_width"
            )
        placement = self.position(stream)
        x_TD = with_modality(embedded.data, stream, self.modalities)
        x_TD = x_TD if placement.added is None else x_TD + placement.added
        own, theirs = (group_by_parent(layout, batch.num_samples) for layout in (stream.layout, context.features.layout))
        plan, context_plan = AttentionPlan.of(stream, placement.bias), AttentionPlan(own, theirs)
        wanted = Wanted(layers, mlps)
        x_TD, taps = self.stack(x_TD, plan, placement.rotation, context.features.data, context_plan, wanted=wanted)
        return encoded(self.norm(x_TD), stream, taps)
