"""Answers read off the encoder's features where they stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import nn

from omnimask.component import Component
from omnimask.components.predictors.base import PredictorModule
from omnimask.interfaces import Context, Encoded, Prediction, Run, Target, Targets, View
from omnimask.network.blocks import initialise


class InPlace(PredictorModule):
    """A linear head at the slots that must answer, and nowhere else (SimMIM [0], the output layer of BERT).

    Args:
        target: what is right, and which loss measures it.
        norm: a layer norm before the head. By default only where a middle layer is read, whose features are not normalised yet.
        units: it answers the corruptor's questions about whole units (``replace_units``) instead of those about tokens.

    [0] Xie et al.: SimMIM, 2021.
    """

    reads: ClassVar[Literal["context", "query"]] = "context"

    def __init__(self, context: Context, *, target: Component[Target], norm: bool | None = None, units: bool = False) -> None:
        super().__init__(context, target)
        self.units = units
        self.reads_asked = context.layer is None
        needs_norm = context.layer is not None if norm is None else norm
        self.norm = nn.LayerNorm(context.width, eps=1e-6) if needs_norm else nn.Identity()
        self.heads = nn.ModuleDict({m: nn.Linear(context.width, self.target(m).num_outputs) for m in context.modalities})
        initialise(self)

    def select(self, view: View) -> Mapping[str, Targets]:
        return self.select_units(view) if self.units else super().select(view)

    def predict(self, encoded: Encoded, view: View, run: Run) -> Mapping[str, Prediction]:
        selected = self.select(view)
        return {
            self.term(m): Prediction(
                self.norm(encoded.at_slots(selected[self.term(m)].at[:, 0], self.context.layer)),
                self.heads[m],
                selected[self.term(m)],
                encoded.stream,
                encoded.stream,
                m,
            )
            for m in self.context.modalities
        }
