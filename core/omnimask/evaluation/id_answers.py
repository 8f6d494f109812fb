"""How often a model is right where it answers with ids, beside the frequencies of answers. N targets, T slots."""

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
from omnimask.network.model import Asked, asked_ids, each_score
from omnimask.run.unigram import Unigram
from omnimask.training.devices.precision import Precision

Scores = Mapping[str, NDArray[np.float64]]
"""(N,) by name."""


@dataclass(frozen=True)
class AnswerScores:
    """Scores of one term by name, of the ``model`` and of the ``unigram``: means over ``num_targets`` targets in ``num_samples``
    samples, with intervals that count samples (documents, where samples are parts). ``unigram_samples`` is in how many training
    samples the unigram was counted; ``seen`` how many of the scored samples were trained on."""

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
    """Scores of every term whose answers are ids, on the held-out samples with the masks of validation.

    Args:
        built: with trained weights in ``built.model``, which lies on ``precision.device``.
        unigrams: by term.
        precision: of the forward pass, and the device.
        pretrained_on: keys of the samples that the weights were trained on; of the wholes, where samples are parts.
    """
    wholes = {built.dataset.key(index): whole_key(built.dataset, index) for index in built.validation_indices.tolist()}
    tables = {term: Table() for term in unigrams}
    for batch in built.validation_batches(precision.device.type):
        for term, rows in scored_rows(built, batch, precision).items():
            if term in tables:
                names = [wholes[batch.keys[number]] for number in rows.sample.tolist()]
                tables[term].add(names, rows.model, unigrams[term].scores(rows.asked.ids))
    return [table.scores(term, unigrams[term], pretrained_on) for term, table in tables.items() if table.names]


@dataclass(frozen=True)
class Rows:
    """The N answers of one term on a batch: what was ``asked``, the ``sample`` (N,) of the batch that each belongs to, the store
    token ``of`` (N,) that it is (-1: it is none), and the ``model``'s scores."""

    asked: Asked
    sample: NDArray[np.int64]
    of: NDArray[np.int64]
    model: Scores


def scored_rows(built: Built, batch: MaskedBatch, precision: Precision) -> dict[str, Rows]:
    """By term, for terms whose answers are ids; ``batch`` on the host. The model is left in the mode it was in."""
    model = built.model
    asked = asked_ids(model, batch)
    if not asked:
        return {}
    with predicted(model, batch, precision) as run:
        return {
            term: Rows(asked[term], samples_of(prediction), _host(prediction.targets.of), _on_host(scores))
            for term, prediction, scores in each_score(model, run)
            if term in asked
        }


def samples_of(prediction: Prediction) -> NDArray[np.int64]:
    """(N,) which sample of the batch each target belongs to."""
    stream, context = prediction.stream, prediction.context
    sequence = _sequence(stream, _host(prediction.targets.at)[:, 0])
    if stream is not context:
        sequence = stream.layout.parent[sequence]
    return context.layout.parent[sequence]


def _sequence(stream: Stream, slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sequence that slots belong to; empty ones have none."""
    return np.searchsorted(stream.layout.offsets, slots, side="right") - 1


def _host(values: Any) -> NDArray[Any]:
    return values.cpu().numpy()


def _on_host(scores: Mapping[str, torch.Tensor]) -> dict[str, NDArray[np.float64]]:
    return {name: values.double().cpu().numpy() for name, values in scores.items()}


@dataclass
class Table:
    """Gathers the scores of targets, each with the name of what it belongs to."""

    names: list[str] = field(default_factory=list[str])
    model: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict[str, list[NDArray[np.float64]]])
    unigram: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict[str, list[NDArray[np.float64]]])

    def add(self, names: Sequence[str], model: Scores, unigram: Scores) -> None:
        """Appends N targets."""
        self.names += names
        for kept, found in ((self.model, model), (self.unigram, unigram)):
            for name, values in found.items():
                kept.setdefault(name, []).append(values)

    def scores(self, term: str, unigram: Unigram, pretrained_on: Collection[str]) -> AnswerScores:
        """Means over all targets."""
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
