"""Prediction from the encoder's features at the targets' own slots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor, nn

from omnimask.component import Component
from omnimask.components.predictors.base import PredictorModule
from omnimask.interfaces import Context, Target, Targets, View
from omnimask.network.blocks import initialise


class InPlace(PredictorModule):
    """A linear head at the slots of the targets only (SimMIM [0], the output layer of BERT).

    Args:
        target: correct answers and their loss.
        norm: a layer norm before the head. By default only for a middle layer, whose features are not normalized yet.
        units: answers the corruptor's targets for whole units (``replace_units``) instead of those for tokens.
        dense: a linear layer with GELU before the head, shared by all modalities (ELECTRA's discriminator [1]).
        linear: whether there is a linear head; False: the features themselves are compared with the target, for the distance to
            another encoder's features.

    [0] Xie et al.: SimMIM, 2021. [1] Clark et al.: ELECTRA, 2020.
    """

    reads: ClassVar[Literal["context", "query"]] = "context"

    def __init__(
        self,
        context: Context,
        *,
        target: Component[Target],
        norm: bool | None = None,
        units: bool = False,
        dense: bool = False,
        linear: bool = True,
    ) -> None:
        super().__init__(context, target)
        self.units = units
        self.reads_asked = context.layer is None
        needs_norm = context.layer is not None if norm is None else norm
        self.norm = nn.LayerNorm(context.width, eps=1e-6) if needs_norm else nn.Identity()
        self.dense = nn.Sequential(nn.Linear(context.width, context.width), nn.GELU()) if dense else nn.Identity()
        for m in () if linear else context.modalities:
            if (outputs := self.target(m).num_outputs) != context.width:
                raise ValueError(f"linear: false compares features of width {context.width} with {outputs} numbers of the target")
        self.heads = self.linear_heads(context.width) if linear else nn.ModuleDict({m: nn.Identity() for m in context.modalities})
        initialise(self)

    def select(self, view: View) -> Mapping[str, Targets]:
        return self.select_units(view) if self.units else super().select(view)

    def head_input(self, features: Tensor, table: Targets) -> Tensor:
        return self.dense(self.norm(features))
