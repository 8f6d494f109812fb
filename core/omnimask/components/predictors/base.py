"""Base class of predictors: selection of rows, divisors, predictions and losses. N targets, D width."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn

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
from omnimask.network.blocks import check_heads
from omnimask.network.border import losses_of


class PredictorModule(Module):
    """Base class of predictors with one term per served modality, each with its own target and head.

    A subclass sets ``heads``: by modality, a module that maps (N, D) features at the targets to the target's ``num_outputs``. By
    default these are the encoder's features; a decoder overrides :meth:`decode`, and layers shared by all heads belong in
    :meth:`head_input`. A predictor of another form overrides :meth:`predict`.

    Args:
        context: of the predictor; ``context.modalities`` are answered.
        target: builds the target of each modality.
    """

    reads: ClassVar[Literal["context", "query"]]
    reads_asked: bool = False
    heads: nn.ModuleDict

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
        return self._rows(view)

    def select_units(self, view: View) -> Mapping[str, Targets]:
        """Return the rows for whole units, by term."""
        return self._rows(view, units=True)

    def _rows(self, view: View, *, units: bool = False) -> Mapping[str, Targets]:
        table = self.stream(view).targets
        return {self.term(m): rows(table, *table.rows(m, units)) for m in self.context.modalities}

    def counts(self, batch: MaskedBatch, view: View) -> Mapping[str, float]:
        return {term: float(len(table)) for term, table in self.select(view).items()}

    def predict(self, encoded: Encoded, view: View, run: Run) -> Mapping[str, Prediction]:
        """Return predictions by term, without reading answers."""
        stream = encoded.stream if self.reads == "context" else self.stream(view)
        selected, features_at = self.select(view), self.decode(encoded, view, run)
        found: dict[str, Prediction] = {}
        for m in self.context.modalities:
            table = selected[self.term(m)]
            features = self.head_input(features_at(table.at[:, 0]), table)
            found[self.term(m)] = Prediction(features, self.heads[m], table, stream, encoded.stream, m)
        return found

    def decode(self, encoded: Encoded, view: View, run: Run) -> Callable[[Tensor], Tensor]:
        """Return a function from slots (N,) of :meth:`stream` to features (N, D), by default the encoder's at ``context.layer``."""
        return lambda slots: encoded.at_slots(slots, self.context.layer)

    def head_input(self, features: Tensor, table: Targets) -> Tensor:
        """Return the heads' input (N, D) from features (N, D) at the slots of the targets; by default the features."""
        return features

    def block_context(self, width: int, heads: int) -> Context:
        """Return the context of components in blocks of this size, which run over the slots of all modalities."""
        everywhere = tuple(self.context.specs)
        return dataclasses.replace(
            self.context, modalities=everywhere, width=width, num_heads=heads, head_width=check_heads(width, heads)
        )

    def linear_heads(self, width: int) -> nn.ModuleDict:
        """Return a linear layer from ``width`` to the target's outputs for each modality."""
        return nn.ModuleDict({m: nn.Linear(width, self.target(m).num_outputs) for m in self.context.modalities})

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
