"""Choice of the right token for a hidden place among the hidden tokens of the sample. T slots, S sequences, N targets, D width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from omnimask.component import Component, named
from omnimask.components.positions.trial import check_placement, trial_placement
from omnimask.components.predictors.base import PredictorModule
from omnimask.components.targets.own_tokens import OwnTokens
from omnimask.interfaces import Context, Encoded, Layout, Position, Run, Targets, View
from omnimask.network.attention_plan import AttentionPlan
from omnimask.network.blocks import CrossAttention, check_heads, initialise
from omnimask.network.pooling import check_pool, pooled
from omnimask.packed import index_tensor


class Pick(PredictorModule):
    """Every hidden place picks its token among the hidden tokens of its sample, its distractors (Selfie [0]).

    The visible tokens' features are pooled to one vector u of the sequence. A place's query is u + p, where p is the embedding of
    its position. The logit of a hidden token is the product of the query with the token's embedding, the one through which the
    encoder reads visible tokens, over the square root of D. The loss is the cross-entropy over the tokens of the place's own query
    sequence: of one sample, one modality and one set of targets. It never compares samples, so the split of a step changes nothing.
    A sequence with one hidden token has no loss.

    Equal tokens are not told apart: with ids, or many empty patches, the loss cannot reach 0. The score ``accuracy`` is the share
    of places that pick the right token, and chance is one in the number of hidden tokens.

    Args:
        pool: ``attention``: a learned vector attends to the visible tokens' features; ``summary``: the mean of the encoder's
            summary tokens, which attend to them in every block, as in the published attention pooling.
        heads: of the pooling attention.
        layers: linear layers (with GELU between) that map u + p to the query. 0: the query is u + p, as published, which scores a
            token for the sample and for the place independently.
        position: position component of places; it adds to embeddings.
        norm_eps: epsilon of the norm of the pooled vector (``attention``).

    [0] Trinh et al.: Selfie: Self-supervised Pretraining for Image Embedding, 2019.
    """

    reads: ClassVar[Literal["context", "query"]] = "query"
    smoke: ClassVar[Any] = {"heads": 2}
    position: nn.Module

    def __init__(
        self,
        context: Context,
        *,
        pool: Literal["attention", "summary"] = "attention",
        heads: Annotated[int, Field(gt=0)] = 8,
        layers: Annotated[int, Field(ge=0)] = 0,
        position: Component[Position] = named("position", "sincos"),  # noqa: B008
        norm_eps: Annotated[float, Field(gt=0)] = 1e-6,
    ) -> None:
        super().__init__(context, Component("target", "own_tokens", cls=OwnTokens))
        width = context.width
        check_heads(width, heads)
        self.pool = pool
        if pool == "summary":
            check_pool(pool, context.summary if context.layer is None else 0)
        else:
            self.asking = nn.Parameter(torch.randn(1, width) * 0.02)
            self.no_weight_decay = {"asking"}
            self.attention, self.norm = CrossAttention(width, heads, width), nn.LayerNorm(width, eps=norm_eps)
        self.mix = nn.Sequential(*_linear_layers(width, layers))
        initialise(self)
        self.heads = nn.ModuleDict({m: nn.Identity() for m in context.modalities})
        self.position = position(self.block_context(width, heads))  # pyright: ignore[reportAttributeAccessIssue]
        check_placement(self.position, context.specs, "predictor pick", "added")
        if trial_placement(self.position, context.specs).added is None:
            raise ValueError("predictor pick tells places apart by their positions alone; choose position sincos or learned")

    def decode(self, encoded: Encoded, view: View, run: Run) -> Callable[[Tensor], Tensor]:
        query = self.stream(view)
        added = self.position(query).added
        assert added is not None
        u_SD = self._pooled(encoded)
        parent = index_tensor(np.repeat(query.layout.parent, query.layout.lengths), added.device)
        return lambda slots: u_SD[parent[slots]] + added[slots]

    def _pooled(self, encoded: Encoded) -> Tensor:
        """Return (S, D), one vector for each context sequence."""
        if self.pool == "summary":
            return pooled(encoded, "summary", self.context.layer)
        visible = encoded.features.layout
        count = visible.num_sequences
        asking = Layout(np.ones(count, np.int64), np.arange(count))
        vector = self.asking.expand(count, -1)
        return self.norm(vector + self.attention(vector, encoded.at(self.context.layer), AttentionPlan(asking, visible)))

    def head_input(self, features: Tensor, table: Targets) -> Tensor:
        return self.mix(features)


def _linear_layers(width: int, count: int) -> list[nn.Module]:
    found: list[nn.Module] = []
    for number in range(count):
        found += [nn.GELU()] if number else []
        found.append(nn.Linear(width, width))
    return found
