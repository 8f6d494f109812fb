"""Scores of a model's answers on one batch. N targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from omnimask.interfaces import MaskedBatch, Prediction, RanksIds, Run, Scores, Target, Targets

if TYPE_CHECKING:
    from omnimask.model import MaskedModel


@dataclass(frozen=True)
class Score:
    """``total`` () of one score over ``count`` targets."""

    total: Tensor
    count: int


@dataclass(frozen=True)
class Asked:
    """The right answers of a term: ``ids`` (N,) of a ``modality``, in the order of its targets."""

    modality: str
    ids: NDArray[np.int64]


def each_prediction(model: MaskedModel, run: Run) -> Iterator[tuple[str, Prediction, Target]]:
    """Every term of every pass that is trained, with its prediction and the target that says what is right."""
    for part in model.each():
        for wired in part.wired(run.batch) if part.grad else ():
            for term in wired.predictor.select(wired.view):
                prediction = run.results[part.name].predictions[term]
                yield term, prediction, wired.predictor.target(prediction.modality)


def each_score(model: MaskedModel, run: Run) -> Iterator[tuple[str, Prediction, Mapping[str, Tensor]]]:
    """Every term that has targets and offers scores, with its prediction and the scores (N,) by name."""
    for term, prediction, target in each_prediction(model, run):
        if isinstance(target, Scores) and len(prediction.targets):
            yield term, prediction, target.scores(prediction, target.answers(prediction, run))


def summed_scores(model: MaskedModel, run: Run) -> dict[str, dict[str, Score]]:
    """Sums over the batch's targets, by term and name."""
    return {
        term: {name: Score(values.float().sum(), len(values)) for name, values in scores.items()}
        for term, _, scores in each_score(model, run)
    }


def asked_ids(model: MaskedModel, batch: MaskedBatch) -> dict[str, Asked]:
    """The right answers of every term whose answers are ids; ``batch`` on the host. No network runs."""
    found: dict[str, Asked] = {}
    for part in model.each():
        for wired in part.wired(batch) if part.grad else ():
            for term, table in wired.predictor.select(wired.view).items():
                modality = modality_of(table, batch)
                if modality is not None and isinstance(wired.predictor.target(modality), RanksIds):
                    found[term] = Asked(modality, _answers(table, batch, modality))
    return found


def modality_of(table: Targets, batch: MaskedBatch) -> str | None:
    """Of the answers of a term, which has one; None where no answer is a token."""
    of = np.asarray(table.of)
    of = of[of >= 0]
    if not len(of):
        return None
    # Of several modalities that start at one index, searching from the right finds the last: the only one with tokens there.
    return list(batch.base)[int(np.searchsorted(list(batch.base.values()), of[0], side="right")) - 1]


def _answers(table: Targets, batch: MaskedBatch, modality: str) -> NDArray[np.int64]:
    of, literal = np.asarray(table.of), np.asarray(table.literal)
    content = np.asarray(batch.store[modality].data)
    return np.where(literal >= 0, literal, content[np.maximum(of - batch.base[modality], 0)])
