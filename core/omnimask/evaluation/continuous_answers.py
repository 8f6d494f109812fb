"""Losses of a model with continuous answers, and of the mean answer as a baseline. N targets, w numbers in an answer."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omnimask.builder.build import Built
from omnimask.data.chunks import read_chunks
from omnimask.data.order import shuffled
from omnimask.data.validation_split import whole_key
from omnimask.evaluation.confidence_intervals import LOSS, MIN_GROUPS, Interval, ratio_interval
from omnimask.evaluation.id_answers import samples_of
from omnimask.interfaces import Draw, MaskedBatch, Prediction, RanksIds, Run, Target
from omnimask.network.inference import predicted
from omnimask.network.model import MaskedModel, each_prediction, modality_of
from omnimask.training.devices.precision import Precision

logger = logging.getLogger(__name__)

SAMPLES, TOKENS = 1_000, 200_000
"""Limits for the mean answer: the number of training samples, and the tokens after which no more are read."""


@dataclass(frozen=True)
class MeanAnswer:
    """``mean`` (w,) of a term's answers for ``modality`` in ``num_samples`` training samples."""

    mean: NDArray[np.float64]
    num_samples: int
    modality: str


@dataclass(frozen=True)
class ContinuousScores:
    """Loss of one term for the ``model`` and for the training samples' mean answer (``baseline``).

    Both are means over ``num_targets`` targets in ``num_samples`` samples, with intervals over samples. ``baseline_samples`` is the
    number of training samples of the mean; ``seen`` is the number of scored samples that were trained on.
    """

    term: str
    modality: str
    num_targets: int
    num_samples: int
    model: Interval
    baseline: Interval
    baseline_samples: int
    seen: int

    @property
    def explained(self) -> float:
        """Share of the baseline's loss avoided by the model."""
        return 1 - self.model.mean / self.baseline.mean if self.baseline.mean else 0.0


def mean_answers(built: Built) -> dict[str, MeanAnswer]:
    """Return mean answers by term, for terms with rows of numbers that depend on the batch alone. No network runs."""
    rng = Draw(built.recipe.seed, 0, "samples", stage=("mean answer",)).rng("order")
    wanted = list(islice(shuffled(built.train_indices, rng), SAMPLES))
    totals: dict[str, NDArray[np.float64]] = {}
    counts: dict[str, int] = {}
    modalities: dict[str, str] = {}
    samples = tokens = 0
    for chunk in read_chunks(built.validation, wanted, built.inference_tokens("cpu"), {}):
        for term, modality, answers in _given(built.model, chunk.batch):
            total = answers.double().sum(0).numpy()
            totals[term], counts[term] = totals.get(term, 0.0) + total, counts.get(term, 0) + len(answers)
            modalities[term] = modality
        samples, tokens = samples + len(chunk.samples), tokens + chunk.batch.num_tokens
        if tokens >= TOKENS:
            break
    return {term: MeanAnswer(total / counts[term], samples, modalities[term]) for term, total in totals.items()}


@torch.no_grad()
def _given(model: MaskedModel, batch: MaskedBatch) -> Iterator[tuple[str, str, Tensor]]:
    """Yield term, modality and answers (N, w), before any forward pass; ``batch`` is on the host."""
    for part in model.each():
        for wired in part.wired(batch) if part.grad else ():
            for term, table in wired.predictor.select(wired.view).items():
                modality = modality_of(table, batch)
                if modality is None or table.arity != 1:
                    continue
                target, view = wired.predictor.target(modality), wired.view
                stream = view.context if wired.predictor.reads == "context" else view.query
                if isinstance(target, RanksIds) or stream is None:
                    continue
                nothing = torch.zeros(len(table), 0)
                try:
                    answers = target.answers(Prediction(nothing, _as_is, table, stream, view.context, modality), Run(batch, {}))
                except KeyError:  # the answers are another pass's features
                    continue
                if _is_row(answers, target):
                    yield term, modality, answers


def _is_row(answers: Tensor, target: Target) -> bool:
    return answers.is_floating_point() and answers.ndim == 2 and answers.shape[1] == target.num_outputs


def _as_is(features: Tensor) -> Tensor:
    return features


@dataclass
class _Gathered:
    names: list[str] = field(default_factory=list[str])
    model: list[NDArray[np.float64]] = field(default_factory=list[NDArray[np.float64]])
    baseline: list[NDArray[np.float64]] = field(default_factory=list[NDArray[np.float64]])


def score_continuous(
    built: Built, means: Mapping[str, MeanAnswer], precision: Precision, pretrained_on: Collection[str] = (), *, limit: int = 10_000
) -> list[ContinuousScores]:
    """Return losses of the terms of ``means``, on at most ``limit`` held-out samples with the masks of validation.

    Args:
        built: with trained weights in ``built.model``, which is on ``precision.device``.
        means: by term.
        precision: of the forward pass, and the device.
        pretrained_on: keys of the samples that the weights were trained on; for parts, of the wholes.
        limit: number of samples after which no more are read.
    """
    wholes = {built.dataset.key(index): whole_key(built.dataset, index) for index in built.validation_indices.tolist()}
    found = {term: _Gathered() for term in means}
    read = 0
    for batch in built.validation_batches(precision.device.type) if means else ():
        for term, sample, model, baseline in _losses(built.model, batch, means, precision):
            found[term].names += [wholes[batch.keys[number]] for number in sample.tolist()]
            found[term].model.append(model)
            found[term].baseline.append(baseline)
        read += batch.num_samples
        if read >= limit:
            break
    return [_scores(term, one, means[term], pretrained_on) for term, one in found.items() if one.names]


def _losses(
    model: MaskedModel, batch: MaskedBatch, means: Mapping[str, MeanAnswer], precision: Precision
) -> list[tuple[str, NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]]:
    """Return term, sample (N,) of each target, and losses (N,) of the model and of the mean. The model's mode is restored."""
    with predicted(model, batch, precision) as run:
        return [
            (term, samples_of(prediction), *_pair(target, prediction, run, means[term]))
            for term, prediction, target in each_prediction(model, run)
            if term in means and len(prediction.targets)
        ]


def _pair(target: Target, prediction: Prediction, run: Run, mean: MeanAnswer) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    answers = target.answers(prediction, run)
    flat = torch.from_numpy(mean.mean).to(answers.device, answers.dtype).expand_as(answers)
    guess = dataclasses.replace(prediction, features=flat, head=_as_is)
    model, baseline = (target.loss(one, answers).double().cpu().numpy() for one in (prediction, guess))
    return model, baseline


def _scores(term: str, found: _Gathered, mean: MeanAnswer, pretrained_on: Collection[str]) -> ContinuousScores:
    there, group = np.unique(found.names, return_inverse=True)
    counts = np.bincount(group)
    model, baseline = (_interval(np.concatenate(values), group, counts) for values in (found.model, found.baseline))
    seen = sum(name in pretrained_on for name in there.tolist())
    return ContinuousScores(term, mean.modality, len(found.names), len(there), model, baseline, mean.num_samples, seen)


def _interval(losses: NDArray[np.float64], group: NDArray[np.int64], counts: NDArray[np.int64]) -> Interval:
    """Return the interval of a loss, bounded by zero if the loss is never negative."""
    bounds = LOSS if losses.min() >= 0 else None
    return ratio_interval(np.bincount(group, weights=losses), counts, bounds, least=MIN_GROUPS)
