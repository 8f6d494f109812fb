"""The model: passes over views, independent of steps, files and ranks. T slots, N targets, D width."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from omnimask.interfaces import (
    Embedding,
    Encoded,
    Encoder,
    MaskedBatch,
    Packed,
    Prediction,
    Predictor,
    RanksIds,
    Result,
    Run,
    Scores,
    Target,
    Targets,
    View,
)
from omnimask.network.embed import embed


@dataclass(frozen=True)
class Score:
    """Sum ``total`` () of one score over ``count`` targets."""

    total: Tensor
    count: int


@dataclass(frozen=True)
class AnswerIds:
    """The correct answers of a term: ``ids`` (N,) of a ``modality``, in the order of its targets."""

    modality: str
    ids: NDArray[np.int64]


@dataclass(frozen=True)
class Output:
    """Output of a model for one batch.

    Attributes:
        loss: () weighted sum of the terms.
        terms: each term over its divisor, unweighted, detached.
        scores: by term and name, if requested.
    """

    loss: Tensor
    terms: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    scores: Mapping[str, Mapping[str, Score]] = field(default_factory=dict[str, Mapping[str, Score]])


@dataclass(frozen=True)
class WeightedPredictor:
    """A predictor and the weight of its terms; ``query`` names the view it decodes (None: its own view's query stream)."""

    predictor: Predictor
    weight: float = 1.0
    query: str | None = None


@dataclass(frozen=True)
class Wired:
    """A predictor, the weight of its terms, and the view of a batch it reads."""

    predictor: Predictor
    weight: float
    view: View


class Pass(nn.Module):
    """One encoder over one view, with the predictors that read its features.

    Args:
        name: of the pass; later passes find its result under it.
        view: name of the encoded view.
        embeddings: by modality.
        encoder: view -> features.
        predictors: by label, with weights.
        grad: False for a pass that only provides answers (a teacher); its predictors have no losses.
    """

    def __init__(
        self,
        name: str,
        view: str,
        embeddings: Mapping[str, nn.Module],
        encoder: nn.Module,
        predictors: Mapping[str, WeightedPredictor],
        *,
        grad: bool = True,
    ) -> None:
        super().__init__()
        self.name, self.view, self.grad = name, view, grad
        self.embeddings = nn.ModuleDict(embeddings)
        self.encoder = encoder
        self.predictors = nn.ModuleDict({label: cast(nn.Module, part.predictor) for label, part in predictors.items()})
        self.weights = {label: part.weight for label, part in predictors.items()}
        self.queries = {label: part.query for label, part in predictors.items()}
        taps = {layer for part in predictors.values() for layer in part.predictor.layers}
        self.layers = tuple(sorted(taps))
        self.needs_asked_only = "only_asked" in inspect.signature(encoder.forward).parameters and all(
            getattr(part.predictor, "reads_asked", False) for part in predictors.values()
        )

    def each(self) -> Sequence[tuple[Predictor, float]]:
        """Return the predictors with their weights."""
        return [(cast(Predictor, self.predictors[label]), weight) for label, weight in self.weights.items()]

    def wired(self, batch: MaskedBatch) -> Sequence[Wired]:
        """Return the predictors with their weights and the views of a batch they read."""
        own = batch.views[self.view]
        return [
            Wired(predictor, weight, _with_query(own, batch.views, query))
            for (predictor, weight), query in zip(self.each(), self.queries.values(), strict=True)
        ]

    def encode(self, batch: MaskedBatch, earlier: Mapping[str, Result], *, only_asked: bool = False) -> Encoded:
        """Return features of the view's context, without predictions. Used by evaluation."""
        context = batch.views[self.view].context
        encoder = cast(Encoder, self.encoder)
        embedded = embed(context, batch, cast(Mapping[str, Embedding], self.embeddings), encoder.width)
        asked: Any = {"only_asked": True} if only_asked and self.needs_asked_only else {}
        return encoder(Packed(embedded, context.layout), context, batch, layers=self.layers, **asked)

    def forward(self, batch: MaskedBatch, earlier: Mapping[str, Result], *, only_asked: bool = False) -> Result:
        """Return features and predictions. With ``only_asked``, features that predictors do not read are skipped."""
        with torch.set_grad_enabled(self.grad and torch.is_grad_enabled()):
            encoded = self.encode(batch, earlier, only_asked=only_asked)
            result = Result(encoded, {})
            for part in self.wired(batch):
                run = Run(batch, {**earlier, self.name: result})
                result = Result(encoded, {**result.predictions, **part.predictor.predict(encoded, part.view, run)})
        return result


def _with_query(view: View, views: Mapping[str, View], query: str | None) -> View:
    """Return a view whose query stream is the context stream of another view of the same samples."""
    if query is None:
        return view
    other = views[query].context
    if not np.array_equal(view.context.layout.parent, other.layout.parent):
        raise ValueError(f"view {query!r} cannot be a query: its sequences differ from those of the encoded view")
    # Sequence i of the query decodes sequence i of the context.
    layout = dataclasses.replace(other.layout, parent=np.arange(other.layout.num_sequences))
    return dataclasses.replace(view, query=dataclasses.replace(other, layout=layout))


def own_predictions(wired: Wired, result: Result) -> dict[str, Prediction]:
    """Return one predictor's predictions of its pass, by term."""
    return {name: result.predictions[name] for name in wired.predictor.select(wired.view)}


class MaskedModel(nn.Module):
    """An ordered list of passes. Each may read only the results of earlier ones.

    Args:
        passes: in order.
        backbone: name of the pass whose encoder is evaluated and exported.
    """

    def __init__(self, passes: Sequence[Pass], *, backbone: str = "main") -> None:
        super().__init__()
        self.order = tuple(part.name for part in passes)
        backbone_first = sorted(passes, key=lambda part: part.name != backbone)  # names shared parameters after the backbone
        self.passes = nn.ModuleDict({part.name: part for part in backbone_first})
        if backbone not in self.passes:
            raise ValueError(f"backbone {backbone!r} is not one of the passes {list(self.passes)}")
        self.backbone = backbone

    def each(self) -> Sequence[Pass]:
        """Return the passes, in order."""
        return [cast(Pass, self.passes[name]) for name in self.order]

    def counts(self, batch: MaskedBatch) -> dict[str, float]:
        """Return the divisor of every term for this batch, before any forward pass. The caller sums over micro-batches and
        ranks."""
        found: dict[str, float] = {}
        for part in self.each():
            for wired in part.wired(batch) if part.grad else ():
                found.update(wired.predictor.counts(batch, wired.view))
        return found

    def predict(self, batch: MaskedBatch, *, only_asked: bool = False) -> dict[str, Result]:
        """Return features and predictions of every pass without reading answers.

        With ``only_asked``, a model of one pass skips features that its predictors do not read.
        """
        results: dict[str, Result] = {}
        for part in self.each():
            results[part.name] = part(batch, results, only_asked=only_asked and len(self.passes) == 1)
        return results

    def forward(self, batch: MaskedBatch, denominators: Mapping[str, float] | None = None, *, is_scored: bool = False) -> Output:
        """Return the loss of a batch.

        Args:
            batch: on the model's device.
            denominators: divisor of every term over the whole optimizer step; this batch's own counts if None. A term with divisor
                0 contributes 0.
            is_scored: whether to compute the scores of targets that offer them.
        """
        denominators = self.counts(batch) if denominators is None else denominators
        results = self.predict(batch, only_asked=True)
        run = Run(batch, results)
        loss: Any = 0.0
        terms: dict[str, Tensor] = {}
        for part in self.each():
            for wired in part.wired(batch) if part.grad else ():
                for term in wired.predictor.losses(own_predictions(wired, results[part.name]), run):
                    divisor = denominators.get(term.name, 0.0)
                    # Multiplied by 0 rather than skipped, so that all parameters take part in the backward pass.
                    value = term.total / divisor if divisor else term.total * 0.0
                    loss = loss + wired.weight * value
                    terms[term.name] = value.detach()
        return Output(loss, terms, summed_scores(self, run) if is_scored else {})

    @property
    def num_parameters(self) -> int:
        """Number of trainable parameters, shared ones counted once."""
        return sum(math.prod(parameter.shape) for parameter in self.parameters())


def each_prediction(model: MaskedModel, run: Run) -> Iterator[tuple[str, Prediction, Target]]:
    """Yield every term of every trained pass, with its prediction and its target."""
    for part in model.each():
        for wired in part.wired(run.batch) if part.grad else ():
            for term in wired.predictor.select(wired.view):
                prediction = run.results[part.name].predictions[term]
                yield term, prediction, wired.predictor.target(prediction.modality)


def each_score(model: MaskedModel, run: Run) -> Iterator[tuple[str, Prediction, Mapping[str, Tensor]]]:
    """Yield every term that has targets and offers scores, with its prediction and the scores (N,) by name."""
    for term, prediction, target in each_prediction(model, run):
        if isinstance(target, Scores) and len(prediction.targets):
            yield term, prediction, target.scores(prediction, target.answers(prediction, run))


def summed_scores(model: MaskedModel, run: Run) -> dict[str, dict[str, Score]]:
    """Return sums over the batch's targets, by term and name."""
    return {
        term: {name: Score(values.float().sum(), len(values)) for name, values in scores.items()}
        for term, _, scores in each_score(model, run)
    }


def asked_ids(model: MaskedModel, batch: MaskedBatch) -> dict[str, AnswerIds]:
    """Return the correct answers of every term with ids as answers, without running the network; ``batch`` on the host."""
    found: dict[str, AnswerIds] = {}
    for part in model.each():
        for wired in part.wired(batch) if part.grad else ():
            for term, table in wired.predictor.select(wired.view).items():
                modality = modality_of(table, batch)
                if modality is not None and isinstance(wired.predictor.target(modality), RanksIds):
                    found[term] = AnswerIds(modality, _answers(table, batch, modality))
    return found


def modality_of(table: Targets, batch: MaskedBatch) -> str | None:
    """Return the modality of a term's answers (each term has exactly one), or None if no answer is a token."""
    of = np.asarray(table.of)
    of = of[of >= 0]
    if not len(of):
        return None
    # Of several modalities that start at one index, searching from the right finds the last: the only one with tokens there.
    return list(batch.base)[int(np.searchsorted(list(batch.base.values()), of[0], side="right")) - 1]


def _answers(table: Targets, batch: MaskedBatch, modality: str) -> NDArray[np.int64]:
    of, literal = np.asarray(table.of), np.asarray(table.literal)
    content = np.asarray(batch.store[modality].data)
    # A literal answer has no token; its clamped index is read and discarded.
    return np.where(literal >= 0, literal, content[np.maximum(of - batch.base[modality], 0)])
