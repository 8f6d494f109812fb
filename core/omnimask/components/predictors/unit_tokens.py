"""Prediction of several tokens at one slot. N targets, D width."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from omnimask.component import Component, named
from omnimask.components.predictors.mlm import MaskedLM
from omnimask.interfaces import Context, Target, Targets


class UnitTokens(MaskedLM):
    """Masked language modeling head with several targets at one slot (the fine head of ERNIE-Gram [0]).

    A learned vector for the token's place in its unit (``Targets.index``) is added to the slot's features, followed by linear,
    GELU, norm, and a logit for every id with tied embedding weights. In the paper, each place has its own query through the whole
    encoder, which sees the context and is seen by none. Here all places of a unit read the unit's only slot.

    Args:
        max_length: maximum length of a unit in tokens.
        target: correct answers and their loss.
        tied: whether output weights are tied to the embedding, or are the head's own.
        bias: whether the linear layer and the norm before the logits have biases; the logits have one.
        norm_eps: epsilon of the norm.

    [0] Xiao et al.: ERNIE-Gram: Pre-Training with Explicitly N-Gram Masked Language Modeling for Natural Language Understanding,
    2020, section 3.
    """

    def __init__(
        self,
        context: Context,
        *,
        max_length: Annotated[int, Field(gt=0, description="maximum length of a unit in tokens")] = 3,
        target: Component[Target] = named("target", "ids"),  # noqa: B008
        tied: bool = True,
        bias: bool = True,
        norm_eps: Annotated[float, Field(gt=0)] = 1e-12,
    ) -> None:
        super().__init__(context, target=target, tied=tied, bias=bias, norm_eps=norm_eps)
        self.places = nn.Parameter(torch.randn(max_length, context.width) * 0.02)
        self.no_weight_decay = {"places"}

    def head_input(self, features: Tensor, table: Targets) -> Tensor:
        """Return (N, D). Raise ``ValueError`` on CPU for a place without a vector."""
        return super().head_input(features + self._places(table), table)

    def _places(self, table: Targets) -> Tensor:
        """Return the vectors of the tokens' places, (N, D) or (D,) if all are the first."""
        if table.index is None:
            return self.places[0]
        # Reading the maximum would synchronize other devices.
        if table.index.device.type == "cpu" and len(table) and int(table.index.max()) >= len(self.places):
            raise ValueError(
                f"predictor {self.context.label} supports units of up to {len(self.places)} tokens, but one has "
                f"{int(table.index.max()) + 1} or more; raise max_length"
            )
        return self.places[table.index]
