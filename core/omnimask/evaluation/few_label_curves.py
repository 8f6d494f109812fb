"""Accuracy against the number of labels, with intervals and identical draws of labels for all sets of features. N samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from omnimask.evaluation.confidence_intervals import DIFFERENCE, SHARE, Interval, t_interval, wilson_interval
from omnimask.evaluation.probe import LINEAR, PROBES, Classes, Matrix, Scaling
from omnimask.interfaces import Draw

PER_CLASS = (2, 5, 10)
"""Labels per class of the few-label points; ``ALL`` comes after them."""
ALL: Literal["all"] = "all"
NUM_DRAWS = 20

Labels: TypeAlias = int | Literal["all"]


@dataclass(frozen=True)
class Split:
    """Split into labelled and scored samples: rows of the feature arrays, and the ``classes`` (N,) of all rows."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    classes: Classes


@dataclass(frozen=True)
class Point:
    """One set of features with one probe and number of labels per class.

    ``draws`` has the accuracy of every draw of labels. With all labels there is one draw, and ``right`` (tests,) is the outcome per
    test sample.
    """

    probe: str
    labels: Labels
    features: str
    accuracy: Interval
    draws: tuple[float, ...]
    right: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Difference:
    """Accuracy of ``features`` minus that of ``baseline``, over the same draws (with all labels: over the same test samples)."""

    probe: str
    labels: Labels
    features: str
    baseline: str
    difference: Interval

    @property
    def verdict(self) -> str:
        """Verdict in words: whether the difference exceeds the interval."""
        if not self.difference.excludes_zero:
            return "within the interval"
        return "better beyond the interval" if self.difference.mean > 0 else "worse beyond the interval"


def draw_labels(split: Split, keys: Sequence[str], per_class: int, draw: int, seed: int) -> NDArray[np.int64]:
    """Return the labelled rows of one draw: up to ``per_class`` of each class.

    They depend on the seed, the draw, the class and the samples' keys alone. A draw with more labels includes those of the same
    draw with fewer.
    """
    chosen: list[NDArray[np.int64]] = []
    for label in np.unique(split.classes[split.train]):
        rows = split.train[split.classes[split.train] == label]
        rows = rows[np.argsort(np.array([keys[row] for row in rows]), kind="stable")]
        order = Draw(seed, draw, str(label), stage=("evaluation",)).rng("labels").permutation(len(rows))
        chosen.append(rows[order[:per_class]])
    return np.concatenate(chosen)


def label_counts(split: Split) -> tuple[Labels, ...]:
    """Return the points of the curve: few-label ones below the size of the largest class, and all labels."""
    largest = int(np.bincount(split.classes[split.train]).max())
    return (*(count for count in PER_CLASS if count < largest), ALL)


def curve(
    features: Mapping[str, Any],
    split: Split,
    keys: Sequence[str],
    probe: str,
    *,
    draws: int = NUM_DRAWS,
    seed: int = 0,
) -> list[Point]:
    """Return all points of one probe, for every set of features.

    Args:
        features: (N, D) by name, dense or sparse.
        split: labelled rows and scored rows.
        keys: of all rows.
        probe: a name in ``PROBES``.
        draws: number of draws of few labels.
        seed: of the draws.
    """
    scaled: dict[str, Matrix] = {}
    for name, found in features.items():
        scaling = Scaling.of(found[split.train])
        scaled[name] = scaling.without_shift(found) if probe == LINEAR else scaling(found)
    points: list[Point] = []
    for labels in label_counts(split):
        rows = [split.train] if labels == ALL else [draw_labels(split, keys, labels, draw, seed) for draw in range(draws)]
        for name, found in scaled.items():
            right = [_right(found, split, chosen, probe, labels == ALL) for chosen in rows]
            shares = tuple(float(each.mean()) for each in right)
            interval = wilson_interval(right[0]) if labels == ALL else t_interval(shares, SHARE)
            points.append(Point(probe, labels, name, interval, shares, right[0] if labels == ALL else None))
    return points


def _right(features: Matrix, split: Split, rows: NDArray[np.int64], probe: str, is_all: bool) -> NDArray[np.bool_]:
    predicted = PROBES[probe](features[rows], split.classes[rows], features[split.test], is_all)
    return predicted == split.classes[split.test]


def differences(points: Sequence[Point], features: str) -> list[Difference]:
    """Compare ``features`` with every other set, for every probe and number of labels."""
    by_place = {(point.probe, point.labels, point.features): point for point in points}
    found: list[Difference] = []
    for point in points:
        if point.features != features:
            ours = by_place[point.probe, point.labels, features]
            found.append(Difference(point.probe, point.labels, features, point.features, _paired(ours, point)))
    return found


def _paired(ours: Point, other: Point) -> Interval:
    if ours.right is not None and other.right is not None:
        return t_interval(ours.right.astype(np.float64) - other.right.astype(np.float64), DIFFERENCE)
    return t_interval(np.array(ours.draws) - np.array(other.draws), DIFFERENCE)
