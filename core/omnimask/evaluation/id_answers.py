"""Scores of a model with id answers, and of the frequencies of answers as a baseline. N targets, T slots."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from omnimask.builder.build import Built
from omnimask.data.validation_split import whole_key
from omnimask.evaluation.confidence_intervals import LOSS, MIN_GROUPS, SHARE, Interval, ratio_interval
from omnimask.interfaces import MaskedBatch, Prediction, Stream
from omnimask.interfaces.answers import ACCURACY, CROSS_ENTROPY, TOP5
from omnimask.network.inference import predicted
from omnimask.network.model import AnswerIds, asked_ids, each_score
from omnimask.run.unigram import Unigram
from omnimask.training.devices.precision import Precision

Scores = Mapping[str, NDArray[np.float64]]
"""Scores (N,) by name."""


@dataclass(frozen=True)
class AnswerScores:
    """Scores of one term by name, for the ``model`` and for the ``unigram``.

    Both are means over ``num_targets`` targets in ``num_samples`` samples, with intervals over samples (documents, if samples are
    parts). ``unigram_samples`` is the number of training samples of the unigram; ``seen`` is the number of scored samples that were
    trained on.
    """

    term: str
    num_targets: int
    num_samples: int
    model: Mapping[str, Interval]
    unigram: Mapping[str, Interval]
    unigram_samples: int
    seen: int


def score_answers(
    built: Built, unigrams: Mapping[str, Unigram], precision: Precision, pretrained_on: Collection[str] = ()
) -> list[AnswerScores]:
    """Return scores of every term with id answers, on the held-out samples with the masks of validation.

    Args:
        built: with trained weights in ``built.model``, which is on ``precision.device``.
        unigrams: by term.
        precision: of the forward pass, and the device.
        pretrained_on: keys of the samples that the weights were trained on; for parts, of the wholes.
    """
    wholes = {built.dataset.key(index): whole_key(built.dataset, index) for index in built.validation_indices.tolist()}
    tables = {term: ScoreTable() for term in unigrams}
    for batch in built.validation_batches(precision.device.type):
        for term, rows in scored_rows(built, batch, precision).items():
            if term in tables:
                names = [wholes[batch.keys[number]] for number in rows.sample.tolist()]
                tables[term].add(names, rows.model, unigrams[term].scores(rows.asked.ids))
    return [table.scores(term, unigrams[term], pretrained_on) for term, table in tables.items() if table.names]


@dataclass(frozen=True)
class AnswerRows:
    """N answers of one term on a batch.

    ``asked`` are the targets, ``sample`` (N,) is the sample in the batch, ``of`` (N,) the store token of each (-1 for none), and
    ``model`` the model's scores.
    """

    asked: AnswerIds
    sample: NDArray[np.int64]
    of: NDArray[np.int64]
    model: Scores


def scored_rows(built: Built, batch: MaskedBatch, precision: Precision) -> dict[str, AnswerRows]:
    """Return rows by term, for terms with id answers; ``batch`` is on the host. The model's mode is restored."""
    model = built.model
    asked = asked_ids(model, batch)
    if not asked:
        return {}
    with predicted(model, batch, precision) as run:
        return {
            term: AnswerRows(asked[term], samples_of(prediction), _host(prediction.targets.of), _on_host(scores))
            for term, prediction, scores in each_score(model, run)
            if term in asked
        }


def samples_of(prediction: Prediction) -> NDArray[np.int64]:
    """Return the sample (N,) in the batch of each target."""
    stream, context = prediction.stream, prediction.context
    sequence = _sequence(stream, _host(prediction.targets.at)[:, 0])
    if stream is not context:
        sequence = stream.layout.parent[sequence]
    return context.layout.parent[sequence]


def _sequence(stream: Stream, slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sequence of each slot; empty sequences have no slots."""
    return np.searchsorted(stream.layout.offsets, slots, side="right") - 1


def _host(values: Any) -> NDArray[Any]:
    return values.cpu().numpy()


def _on_host(scores: Mapping[str, torch.Tensor]) -> dict[str, NDArray[np.float64]]:
    return {name: values.double().cpu().numpy() for name, values in scores.items()}


@dataclass
class ScoreTable:
    """Table of the scores of targets, each with the name of its sample."""

    names: list[str] = field(default_factory=list[str])
    model: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict[str, list[NDArray[np.float64]]])
    unigram: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict[str, list[NDArray[np.float64]]])

    def add(self, names: Sequence[str], model: Scores, unigram: Scores) -> None:
        """Append N targets."""
        self.names += names
        for kept, found in ((self.model, model), (self.unigram, unigram)):
            for name, values in found.items():
                kept.setdefault(name, []).append(values)

    def scores(self, term: str, unigram: Unigram, pretrained_on: Collection[str]) -> AnswerScores:
        """Return means over all targets."""
        there = dict.fromkeys(self.names)
        return AnswerScores(
            term,
            len(self.names),
            len(there),
            dict(self._means(self.model.items())),
            dict(self._means(self.unigram.items())),
            unigram.num_samples,
            sum(name in pretrained_on for name in there),
        )

    def _means(self, found: Iterable[tuple[str, list[NDArray[np.float64]]]]) -> Iterator[tuple[str, Interval]]:
        _, group = np.unique(self.names, return_inverse=True)
        counts = np.bincount(group)
        for name, values in found:
            bounds = SHARE if name in (ACCURACY, TOP5) else LOSS if name == CROSS_ENTROPY else None
            yield name, ratio_interval(np.bincount(group, weights=np.concatenate(values)), counts, bounds, least=MIN_GROUPS)
