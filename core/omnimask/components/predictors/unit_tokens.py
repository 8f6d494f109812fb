"""Which tokens a slot stands for, where one slot takes the place of several. N targets, D width."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from omnimask.component import Component, named
from omnimask.components.predictors.mlm import MaskedLM
from omnimask.interfaces import Context, Encoded, Target, Targets


class UnitTokens(MaskedLM):
    """The output layer of a masked language model where several tokens are asked for at one slot (the fine head of ERNIE-Gram [0]).

    A learned vector for the token's place in its unit (``Targets.index``) is added to the slot's features; then linear, GELU, norm,
    and a score for every id by the rows of the embedding. In the paper, each place has a query of its own through the whole
    encoder, which sees the context and is seen by none; here all places of a unit read the unit's one slot.

    Args:
        max_length: tokens of the longest unit.
        target: what is right, and which loss measures it.
        tied: whether ids are scored by the embedding's rows, or by a matrix of the head's own.
        bias: whether the linear layer and the norm before the scores have biases; the scores have one.
        norm_eps: epsilon of the norm.

    [0] Xiao et al.: ERNIE-Gram: Pre-Training with Explicitly N-Gram Masked Language Modeling for Natural Language Understanding,
    2020, section 3.
    """

    def __init__(
        self,
        context: Context,
        *,
        max_length: Annotated[int, Field(gt=0, description="tokens of the longest unit")] = 3,
        target: Component[Target] = named("target", "ids"),  # noqa: B008
        tied: bool = True,
        bias: bool = True,
        norm_eps: Annotated[float, Field(gt=0)] = 1e-12,
    ) -> None:
        super().__init__(context, target=target, tied=tied, bias=bias, norm_eps=norm_eps)
        self.places = nn.Parameter(torch.randn(max_length, context.width) * 0.02)
        self.no_weight_decay = {"places"}

    def read(self, table: Targets, encoded: Encoded) -> Tensor:
        features = super().read(table, encoded)
        if table.index is None:
            return features + self.places[0]
        if table.index.device.type == "cpu" and len(table) and int(table.index.max()) >= len(self.places):
            raise ValueError(
                f"predictor {self.context.label} has places for {len(self.places)} tokens of a unit, and one has "
                f"{int(table.index.max()) + 1} or more; raise max_length"
            )
        return features + self.places[table.index]
