"""The model: networks and predictors, and passes over views, independent of steps, files and ranks. N targets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from omnimask.interfaces import (
    Encoded,
    LearnedVectors,
    LearnsVectors,
    MaskedBatch,
    Prediction,
    RanksIds,
    Result,
    Run,
    Scores,
    Target,
    Targets,
)
from omnimask.network.network import FollowsWeights, Network
from omnimask.network.passes import Pass, Wired


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
        learned: learned vectors by term, with the scores, for targets that offer them.
    """

    loss: Tensor
    terms: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    scores: Mapping[str, Mapping[str, Score]] = field(default_factory=dict[str, Mapping[str, Score]])
    learned: Mapping[str, LearnedVectors] = field(default_factory=dict[str, LearnedVectors])


def own_predictions(wired: Wired, result: Result) -> dict[str, Prediction]:
    """Return one predictor's predictions of its pass, by its own names of terms."""
    return {name: result.predictions[name] for name in wired.predictor.select(wired.view)}


class MaskedModel(nn.Module):
    """Networks and predictors, and the passes that use them. Each pass may read only the results of earlier ones.

    Args:
        networks: by name.
        passes: in order.
        backbone: name of the pass whose encoder is evaluated and exported.

    Attributes:
        passes: by name, in order.
    """

    def __init__(self, networks: Mapping[str, Network], passes: Sequence[Pass], *, backbone: str = "main") -> None:
        super().__init__()
        self.networks = nn.ModuleDict(networks)
        self.passes: Mapping[str, Pass] = {part.name: part for part in passes}
        if backbone not in self.passes:
            raise ValueError(f"backbone {backbone!r} is not one of the passes {list(self.passes)}")
        self.backbone = backbone
        backbone_first = sorted(passes, key=lambda part: part.name != backbone)
        self.predictors = nn.ModuleDict(
            {label: cast(nn.Module, predictor) for part in backbone_first for label, predictor in part.predictors.items()}
        )
        self.replacers = nn.ModuleDict({part.name: cast(nn.Module, part.replace) for part in passes if part.replace is not None})
        self._followers = [module for module in self.networks.values() if isinstance(module, FollowsWeights)]

    def settle(self) -> None:
        """Let networks that follow others start from their weights; called when these are initialized."""
        for module in self._followers:
            module.settle()

    def after_update(self, progress: float) -> None:
        """Let networks that follow others take a step; called after every update, at a share of the run in [0, 1]."""
        for module in self._followers:
            module.after_update(progress)

    def each(self) -> Sequence[Pass]:
        """Return the passes, in order."""
        return list(self.passes.values())

    def counts(self, batch: MaskedBatch) -> dict[str, float]:
        """Return the divisor of every term for this batch, before any forward pass. The caller sums over micro-batches and
        ranks."""
        found: dict[str, float] = {}
        for part in self.each():
            for wired in part.wired(batch) if part.grad else ():
                found.update({wired.prefix + term: count for term, count in wired.predictor.counts(batch, wired.view).items()})
        return found

    def predict(self, batch: MaskedBatch, *, only_asked: bool = False) -> dict[str, Result]:
        """Return features and predictions of every pass without reading answers.

        With ``only_asked``, passes skip features that nothing reads.
        """
        results: dict[str, Result] = {}
        for part in self.each():
            results[part.name] = part(batch, results, only_asked=only_asked)
        return results

    def needed(self, name: str) -> list[Pass]:
        """Return the passes whose features the encoder of a pass reads, directly or not, and the pass itself; in order."""
        wanted = {name}
        for part in reversed(self.each()):
            wanted |= set(part.reads) if part.name in wanted else set()
        return [part for part in self.each() if part.name in wanted]

    def encode(self, batch: MaskedBatch, name: str | None = None) -> Encoded:
        """Return the features of a pass, by default of the backbone, without predictions and replacements."""
        name = self.backbone if name is None else name
        results: dict[str, Result] = {}
        for part in self.needed(name):
            results[part.name] = Result(part.encode(batch, results), {})
        return results[name].encoded

    def forward(self, batch: MaskedBatch, denominators: Mapping[str, float] | None = None, *, is_scored: bool = False) -> Output:
        """Return the loss of a batch.

        Args:
            batch: on the model's device.
            denominators: divisor of every term over the whole optimizer step; this batch's own counts if None. A term with divisor
                0 contributes 0.
            is_scored: whether to compute the scores and learned vectors of targets that offer them.
        """
        denominators = self.counts(batch) if denominators is None else denominators
        results = self.predict(batch, only_asked=True)
        run = Run(batch, results)
        loss: Any = 0.0
        terms: dict[str, Tensor] = {}
        for part in self.each():
            for wired in part.wired(batch) if part.grad else ():
                for term in wired.predictor.losses(own_predictions(wired, results[part.name]), run):
                    name = wired.prefix + term.name
                    divisor = denominators.get(name, 0.0)
                    # Multiplied by 0 rather than skipped, so that all parameters take part in the backward pass.
                    value = term.total / divisor if divisor else term.total * 0.0
                    loss = loss + wired.weight * value
                    terms[name] = value.detach()
        return Output(loss, terms, summed_scores(self, run), learned_vectors(self, run)) if is_scored else Output(loss, terms)

    @property
    def num_parameters(self) -> int:
        """Number of parameters, shared ones counted once."""
        return sum(math.prod(parameter.shape) for parameter in self.parameters())


def each_prediction(model: MaskedModel, run: Run) -> Iterator[tuple[str, Prediction, Target]]:
    """Yield every term of every trained pass, with its prediction and its target."""
    for part in model.each():
        for wired in part.wired(run.batch) if part.grad else ():
            for term in wired.predictor.select(wired.view):
                prediction = run.results[part.name].predictions[term]
                yield wired.prefix + term, prediction, wired.predictor.target(prediction.modality)


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


def learned_vectors(model: MaskedModel, run: Run) -> dict[str, LearnedVectors]:
    """Return the learned vectors of the batch's targets, by term, for the targets that offer them."""
    return {
        term: target.learned_vectors(prediction, run)
        for term, prediction, target in each_prediction(model, run)
        if isinstance(target, LearnsVectors) and len(prediction.targets)
    }


def asked_ids(model: MaskedModel, batch: MaskedBatch) -> dict[str, AnswerIds]:
    """Return the correct answers of every term with ids as answers, without running the network; ``batch`` on the host."""
    found: dict[str, AnswerIds] = {}
    for part in model.each():
        for wired in part.wired(batch) if part.grad else ():
            for term, table in wired.predictor.select(wired.view).items():
                modality = modality_of(table, batch)
                if modality is not None and isinstance(wired.predictor.target(modality), RanksIds):
                    found[wired.prefix + term] = AnswerIds(modality, _answers(table, batch, modality))
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
