"""Draws and intervals."""

from __future__ import annotations

import numpy as np
import pytest

from omnimask.evaluation.confidence_intervals import DIFFERENCE, Interval, t_interval
from omnimask.evaluation.few_label_curves import (
    ALL,
    Difference,
    Split,
    curve,
    differences,
    draw_labels,
    label_counts,
)


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        (Interval(0.02, 0.01, 0.03), "better beyond the interval"),
        (Interval(-0.02, -0.03, -0.01), "worse beyond the interval"),
        (Interval(0.02, -0.01, 0.05), "within the interval"),
    ],
)
def test_verdicts(interval: Interval, verdict: str) -> None:
    assert Difference("knn", 2, "a", "b", interval).verdict == verdict


def split(sizes: tuple[int, ...], tests: int = 6) -> tuple[Split, list[str]]:
    classes = np.concatenate([np.repeat(np.arange(len(sizes)), sizes), np.arange(tests) % len(sizes)])
    train = np.arange(sum(sizes))
    return Split(train, np.arange(len(train), len(classes)), classes), [f"key {row:03d}" for row in range(len(classes))]


def test_draws_are_balanced_nested_and_keyed() -> None:
    parts, keys = split((12, 12, 3))
    two, five = (draw_labels(parts, keys, count, 0, seed=1) for count in (2, 5))
    assert np.bincount(parts.classes[two]).tolist() == [2, 2, 2]
    assert np.bincount(parts.classes[five]).tolist() == [5, 5, 3]  # the third class gives all it has
    assert set(two) < set(five)
    np.testing.assert_array_equal(two, draw_labels(parts, keys, 2, 0, seed=1))
    assert set(two) != set(draw_labels(parts, keys, 2, 1, seed=1))
    assert set(two) != set(draw_labels(parts, keys, 2, 0, seed=2))


def test_a_draw_does_not_depend_on_the_order_of_samples() -> None:
    parts, keys = split((12, 12))
    order = np.random.default_rng(0).permutation(len(keys))
    place = np.argsort(order)
    moved = Split(np.sort(place[parts.train]), np.sort(place[parts.test]), parts.classes[order])
    there = [keys[i] for i in order]
    assert {keys[row] for row in draw_labels(parts, keys, 5, 3, 0)} == {there[row] for row in draw_labels(moved, there, 5, 3, 0)}


def test_points_that_would_use_all_labels_anyway_are_left_out() -> None:
    assert label_counts(split((12, 12))[0]) == (2, 5, 10, ALL)
    assert label_counts(split((10, 4))[0]) == (2, 5, ALL)
    assert label_counts(split((2, 2))[0]) == (ALL,)


def test_differences_are_paired() -> None:
    parts, keys = split((12, 12), tests=40)
    rng = np.random.default_rng(0)
    good = np.where(parts.classes, 1.0, -1.0)[:, None] + rng.normal(0, 0.8, (len(keys), 1))
    features = {"good": good.astype(np.float32), "same": good.astype(np.float32), "noise": rng.normal(0, 1, (len(keys), 1))}
    points = curve(features, parts, keys, "linear", draws=8, seed=0)
    found = {(each.labels, each.baseline): each for each in differences(points, "good")}
    for labels in (2, 5, 10, ALL):
        assert found[labels, "same"].difference == Interval(0, 0, 0)
        assert found[labels, "noise"].verdict == "better beyond the interval"
    by_place = {(point.labels, point.features): point for point in points}
    spread = np.array(by_place[5, "good"].draws) - np.array(by_place[5, "noise"].draws)
    assert found[5, "noise"].difference == t_interval(spread, DIFFERENCE)
