"""An autoregressive decoder. T slots, D width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from omnimask.component import Component, named
from omnimask.components.predictors.base import PredictorModule
from omnimask.interfaces import Context, Encoded, Position, Run, Target, Targets, View
from omnimask.network.attention_plan import AttentionPlan
from omnimask.network.blocks import Block, Stack, check_heads, initialise
from omnimask.network.embed import ModalitySlots, embed, make_modality_embedding, with_modality
from omnimask.packed import group_by_parent


class Autoregressive(PredictorModule):
    """Decoder of the query stream according to its ranks, with cross-attention to the corresponding context sequence (T5 [0]).

    Slots of the query show tokens and special ids through the encoder's embeddings, which are shared.

    Args:
        target: correct answers and their loss.
        width, depth, heads: of the decoder's transformer.
        mlp_ratio: hidden width of its MLPs in units of ``width``.
        position: position component of its slots.
        norm_eps: epsilon of its layer norms.
        modality_embedding: slots that receive a learned vector of their modality in recipes with several modalities: ``hidden``
            ones, which show no content, ``all`` or ``none``.

    [0] Raffel et al.: Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer, 2019.
    """

    reads: ClassVar[Literal["context", "query"]] = "query"
    smoke: ClassVar[Any] = {"width": 32, "depth": 1, "heads": 2}

    def __init__(
        self,
        context: Context,
        *,
        target: Component[Target],
        width: Annotated[int, Field(gt=0)],
        depth: Annotated[int, Field(gt=0)],
        heads: Annotated[int, Field(gt=0)],
        mlp_ratio: Annotated[float, Field(gt=0)] = 4.0,
        position: Component[Position] = named("position", "sincos"),  # noqa: B008
        norm_eps: Annotated[float, Field(gt=0)] = 1e-6,
        modality_embedding: ModalitySlots = "hidden",
    ) -> None:
        super().__init__(context, target)
        check_heads(width, heads)
        self.adapt = nn.Identity() if width == context.width else nn.Linear(context.width, width)
        blocks = [Block(width, heads, mlp_ratio=mlp_ratio, norm_eps=norm_eps, context_width=context.width) for _ in range(depth)]
        self.stack = Stack(blocks)
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.heads = self.linear_heads(width)
        initialise(self)
        self.position = position(self.block_context(width, heads))
        self.modalities = make_modality_embedding(context, width, modality_embedding)

    def decode(self, encoded: Encoded, view: View, run: Run) -> Callable[[Tensor], Tensor]:
        query = self.stream(view)
        placement = self.position(query)
        x_TD = self.adapt(embed(query, run.batch, self.context.embeddings, self.context.width))
        x_TD = with_modality(x_TD, query, self.modalities)
        if placement.added is not None:
            x_TD = x_TD + placement.added
        plan = AttentionPlan.of(query, placement.bias)
        # All answers of a sample, one per modality, attend to its context sequence.
        merged = group_by_parent(query.layout, encoded.features.layout.num_sequences)
        cross = AttentionPlan(merged, encoded.features.layout)
        x_TD, _ = self.stack(x_TD, plan, placement.rotation, encoded.at(self.context.layer), cross)
        return lambda slots: x_TD[slots]

    def head_input(self, features: Tensor, table: Targets) -> Tensor:
        return self.norm(features)
