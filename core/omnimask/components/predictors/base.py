"""Base class of predictors: selection of rows, divisors and losses. N targets."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from torch import nn

from omnimask.component import Component
from omnimask.interfaces import (
    Context,
    Encoded,
    LossTerm,
    MaskedBatch,
    Module,
    OfSamples,
    Prediction,
    Run,
    Stream,
    Target,
    Targets,
    View,
)
from omnimask.network.border import losses_of


class PredictorModule(Module, ABC):
    """Base class of predictors with one term per served modality, each with its own target. A plugin implements ``predict`` only.

    Args:
        context: of the predictor; ``context.modalities`` are answered.
        target: builds the target of each modality.
    """

    reads: ClassVar[Literal["context", "query"]]
    reads_asked: bool = False

    def __init__(self, context: Context, target: Component[Target]) -> None:
        super().__init__()
        self.context = context
        self.layers: Sequence[int] = () if context.layer is None else (context.layer,)
        self._targets = {m: target(dataclasses.replace(context, modalities=(m,))) for m in context.modalities}
        if any(isinstance(each, OfSamples) for each in self._targets.values()):
            raise ValueError(f"target {target.name!r} applies to whole samples, but this predictor predicts tokens; use sequence")
        self.target_modules = nn.ModuleDict({m: t for m, t in self._targets.items() if isinstance(t, nn.Module)})

    def target(self, modality: str) -> Target:
        return self._targets[modality]

    def term(self, modality: str) -> str:
        """Return the name of a modality's loss term."""
        label = self.context.label or type(self).__name__.lower()
        return label if len(self.context.modalities) == 1 else f"{label}.{modality}"

    def stream(self, view: View) -> Stream:
        """Return the stream of a view in which this predictor answers."""
        stream = view.context if self.reads == "context" else view.query
        if stream is None:
            raise ValueError(f"predictor {self.context.label!r} needs a query stream, but the view has none")
        return stream

    def select(self, view: View) -> Mapping[str, Targets]:
        table = self.stream(view).targets
        return {self.term(m): rows(table, *table.spans.get(m, (0, 0))) for m in self.context.modalities}

    def select_units(self, view: View) -> Mapping[str, Targets]:
        """Return the rows for whole units, by term."""
        table = self.stream(view).targets
        return {self.term(m): rows(table, *table.spans.get(f"{m}.unit", (0, 0))) for m in self.context.modalities}

    def counts(self, batch: MaskedBatch, view: View) -> Mapping[str, float]:
        return {term: float(len(table)) for term, table in self.select(view).items()}

    @abstractmethod
    def predict(self, encoded: Encoded, view: View, run: Run) -> Mapping[str, Prediction]:
        """Return predictions by term, without reading answers."""

    def losses(self, predictions: Mapping[str, Prediction], run: Run) -> Sequence[LossTerm]:
        terms = []
        for name, prediction in predictions.items():
            target = self.target(prediction.modality)
            loss = losses_of(target.loss(prediction, target.answers(prediction, run)), prediction, target)
            terms.append(LossTerm(name, (prediction.targets.weight * loss).sum()))
        return terms


def rows(table: Targets, start: int, stop: int) -> Targets:
    """Return rows ``[start, stop)`` of a targets table; all of them without copying."""
    if (start, stop) == (0, len(table)):
        return table
    index = None if table.index is None else table.index[start:stop]
    part = slice(start, stop)
    return Targets(table.at[part], table.of[part], table.literal[part], table.weight[part], index, table.arity)
