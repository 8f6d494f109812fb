"""Scores of a trained encoder, of the same encoder untrained, and of raw input. N samples, D width."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from omnimask.builder.build import Built
from omnimask.data.label_tables import Row
from omnimask.errors import UserError
from omnimask.evaluation.confidence_intervals import Interval
from omnimask.evaluation.continuous_answers import ContinuousScores
from omnimask.evaluation.feature_table import PRETRAINED, FeatureTable, compute_features
from omnimask.evaluation.features import DEFAULT_POOL, Pool, check_pool
from omnimask.evaluation.few_label_curves import NUM_DRAWS, PER_CLASS, Difference, Point, Split, curve, differences
from omnimask.evaluation.id_answers import AnswerScores
from omnimask.evaluation.labelled_samples import LIMIT, check_labels, choose_sides
from omnimask.evaluation.probe import PROBES
from omnimask.interfaces.answers import CROSS_ENTROPY


@dataclass(frozen=True)
class Evaluation:
    """Scores with their provenance.

    ``chance`` is the accuracy of always predicting ``most_frequent``, the most frequent class among the training labels. ``seen``
    is the number of scored samples that were pretrained on (without labels).
    """

    pool: Pool
    draws: int
    num_train: int
    num_test: int
    num_classes: int
    chance: float
    most_frequent: str
    seen: int
    labels_from: str
    split_from: str
    notes: tuple[str, ...]
    points: tuple[Point, ...]
    differences: tuple[Difference, ...]

    @property
    def num_by_chance(self) -> int:
        """Number of scored samples of the most frequent class."""
        return round(self.chance * self.num_test)


def evaluate(
    built: Built,
    *,
    probes: Sequence[str] = tuple(PROBES),
    pool: Pool = DEFAULT_POOL,
    draws: int = NUM_DRAWS,
    table: Mapping[str, Row] | None = None,
    source: str = "the table of labels",
    pretrained_on: Collection[str] = (),
    limit: int = LIMIT,
    device: torch.device | None = None,
    modality: str | None = None,
) -> Evaluation:
    """Compute few-label curves of the model in ``built``, of the same architecture untrained, and of raw input.

    The protocol is in :mod:`omnimask.evaluation.probe` and :mod:`omnimask.evaluation.few_label_curves`. Every set of features is
    probed with the same draws of labels.

    Args:
        built: with trained weights in ``built.model``, which is moved to ``device``.
        probes: names in ``PROBES``.
        pool: pooling of token features to one vector per sample.
        draws: number of draws of few labels; at least 2.
        table: labels by key (:func:`omnimask.data.label_tables.read_labels`); the field ``label`` of the samples if None.
        source: name of the table in messages.
        pretrained_on: keys of the samples that the weights were trained on; for parts, of the wholes.
        limit: maximum number of samples on each side of the split.
        device: of the encoders; the processor if None.
        modality: of the tokens whose features are pooled; None for all.

    Raises:
        UserError: labels are missing or too few, the table does not fit, or the encoder does not support the pool.
    """
    _check(probes, draws)
    check_pool(built.model, pool)
    if table is None:
        check_labels(built.dataset, range(len(built.dataset)))
    sides = choose_sides(built, table, source, limit)
    found = compute_features(built, sides, table, pool, device or torch.device("cpu"), modality)
    split, names, notes = as_split(found)
    points = [
        point for probe in probes for point in curve(found.features, split, found.keys, probe, draws=draws, seed=built.recipe.seed)
    ]
    most_frequent = int(np.bincount(split.classes[split.train]).argmax())
    return Evaluation(
        pool=pool,
        draws=draws,
        num_train=len(split.train),
        num_test=len(split.test),
        num_classes=len(names),
        chance=float(np.mean(split.classes[split.test] == most_frequent)),
        most_frequent=names[most_frequent],
        seen=sum(found.keys[row] in pretrained_on for row in split.test.tolist()),
        labels_from="the data set's field label" if table is None else source,
        split_from=sides.split_from,
        notes=(*sides.notes, *notes),
        points=tuple(points),
        differences=tuple(differences(points, PRETRAINED)),
    )


def _check(probes: Sequence[str], draws: int) -> None:
    unknown = [name for name in probes if name not in PROBES]
    if unknown or not probes:
        raise UserError(f"--probe: unknown probe {', '.join(unknown) or 'nothing'}; probes: {', '.join(PROBES)}")
    if draws < 2:
        raise UserError(f"--draws {draws}: an interval needs at least 2 draws")


def as_split(found: FeatureTable) -> tuple[Split, list[str], list[str]]:
    """Return rows of both sides with numbered classes, the classes' names, and notes on anomalies.

    A scored sample whose class has no training label gets class -1, which no probe predicts: it counts as wrong.

    Raises:
        UserError: a side is empty, there is only one class, or no class has two labels.
    """
    train, test = np.flatnonzero(~found.is_test), np.flatnonzero(found.is_test)
    counts = Counter(str(found.labels[row]) for row in train.tolist())
    for side, rows in (("training", train), ("held-out", test)):
        if not len(rows):
            raise UserError(f"no {side} sample is labeled and readable")
    if len(counts) < 2:
        raise UserError(f"all training samples have the label {next(iter(counts))!r}; probes need at least two classes")
    if max(counts.values()) < 2:
        raise UserError(f"each of the {len(train)} training samples has a different label; probes need classes")
    names = sorted(counts)
    number = {name: place for place, name in enumerate(names)}
    classes = np.array([number.get(str(label), -1) for label in found.labels], np.int64)
    notes = [f"{len(found.bad)} samples are unreadable and were skipped"] if found.bad else []
    if unknown := int((classes[test] < 0).sum()):
        notes.append(f"{unknown} scored samples have a class without training labels and count as wrong")
    for wanted in PER_CLASS:
        short = sum(count < wanted for count in counts.values())
        if short and max(counts.values()) > wanted:
            notes.append(f"{short} of {len(names)} classes have fewer than {wanted} training labels; all of theirs are used")
    return Split(train, test, classes), names, notes


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return the scores as in ``evaluation.json``."""
    scores = [
        {
            "probe": point.probe,
            "labels_per_class": point.labels,
            "features": point.features,
            **_interval(point.accuracy),
            "draws": list(point.draws),
        }
        for point in evaluation.points
    ]
    compared = [
        {
            "probe": each.probe,
            "labels_per_class": each.labels,
            "features": each.features,
            "baseline": each.baseline,
            **_interval(each.difference),
            "verdict": each.verdict,
        }
        for each in evaluation.differences
    ]
    counts = ("num_train", "num_test", "num_classes", "chance", "most_frequent", "seen")
    about = {name: getattr(evaluation, name) for name in ("pool", "draws", *counts, "labels_from", "split_from")}
    return {**about, "notes": list(evaluation.notes), "scores": scores, "differences": compared}


def answers_as_json(scores: AnswerScores) -> dict[str, Any]:
    """Return one term's answer scores as in ``evaluation.json``."""
    about = {name: getattr(scores, name) for name in ("term", "num_targets", "num_samples", "unigram_samples", "seen")}
    return {**about, "model": _by_name(scores.model), "unigram": _by_name(scores.unigram)}


def continuous_as_json(scores: ContinuousScores) -> dict[str, Any]:
    """Return one term's continuous scores as in ``evaluation.json``."""
    names = ("term", "modality", "num_targets", "num_samples", "baseline_samples", "seen", "explained")
    about = {name: getattr(scores, name) for name in names}
    return {**about, "model": {"loss": _interval(scores.model)}, "mean": {"loss": _interval(scores.baseline)}}


def _by_name(scores: Mapping[str, Interval]) -> dict[str, Any]:
    """Return every score with its interval, plus the perplexity: e to the power of the cross-entropy."""
    found = {name: _interval(interval) for name, interval in scores.items()}
    if CROSS_ENTROPY in scores:
        found["perplexity"] = _interval(perplexity(scores[CROSS_ENTROPY]))
    return found


def perplexity(cross_entropy: Interval) -> Interval:
    """Return e to the power of a mean in nats, and of its bounds."""
    return Interval(*(math.exp(min(value, 700.0)) for value in (cross_entropy.mean, cross_entropy.low, cross_entropy.high)))


def _interval(interval: Interval) -> dict[str, float | None]:
    """Return an interval for JSON, in which an infinite bound is null."""
    low, high = (bound if math.isfinite(bound) else None for bound in (interval.low, interval.high))
    return {"mean": interval.mean, "low": low, "high": high}
