"""The protocol's parts against hand computations."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from omnimask.evaluation.probe import FEW_LABEL_C, FOLDS, GRID_C, PROBES, Scaling, _choose, _into_span, accuracy, knn, linear


def test_scaling_moves_to_mean_zero_and_mean_square_length_one() -> None:
    features = np.array([[1.0, 10.0], [3.0, 10.0], [5.0, 13.0]], np.float32)
    scaling = Scaling.of(features)
    np.testing.assert_allclose(scaling.mean, [3, 11])
    assert scaling.scale == pytest.approx(np.sqrt(((4 + 1) + (0 + 1) + (4 + 4)) / 3))
    scaled = scaling(features)
    np.testing.assert_allclose((scaled**2).sum(1).mean(), 1)
    np.testing.assert_array_equal(Scaling.of(np.ones((3, 2)))(np.ones((3, 2))), np.zeros((3, 2)))


def test_knn_weighs_by_cosine() -> None:
    train = np.array([[1.0, 0.0], [0.8, 0.6], [0.8, -0.6], [0.0, 5.0]])
    classes = np.array([0, 1, 1, 2])
    # one neighbour at cosine 1 against two at cosine 0.8: exp(0.2 / 0.07) = 17 > 2
    assert knn(train, classes, np.array([[2.0, 0.0]])).tolist() == [0]
    assert knn(train, classes, np.array([[0.1, 1.0], [-0.5, -3.0]])).tolist() == [2, 1]


def test_linear_is_scikit_learns_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    train, test, classes = rng.normal(0, 0.3, (30, 5)), rng.normal(0, 0.3, (50, 5)), np.arange(30) % 3
    expected = LogisticRegression(C=FEW_LABEL_C, max_iter=1000).fit(train, classes).predict(test)
    np.testing.assert_array_equal(linear(train, classes, test), expected)


def test_rotation_into_the_span_changes_no_prediction() -> None:
    rng = np.random.default_rng(1)
    train, test, classes = rng.normal(0, 0.05, (12, 400)), rng.normal(0, 0.05, (80, 400)), np.arange(12) % 3
    small, _ = _into_span(train, test)
    assert small.shape == (12, 12)
    np.testing.assert_allclose(small @ small.T, train @ train.T, atol=1e-12)
    expected = LogisticRegression(C=FEW_LABEL_C, max_iter=1000, tol=1e-8).fit(train, classes).predict(test)
    assert accuracy(linear(train, classes, test), expected) >= 79 / 80  # a tie may turn over in the last digits


def test_the_penalty_is_chosen_like_scikit_learns_grid_search() -> None:
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    chosen: set[float] = set()
    for seed, noise in enumerate((0.1, 0.3, 0.6, 1.0, 2.0)):
        rng = np.random.default_rng(seed)
        classes = np.arange(90) % 2
        features = np.where(classes, 0.5, -0.5)[:, None] * (np.arange(20) < 2) + rng.normal(0, noise, (90, 20))
        expected = GridSearchCV(LogisticRegression(max_iter=1000), {"C": GRID_C}, cv=folds).fit(features, classes).best_params_["C"]
        assert _choose(features, classes) == expected
        chosen.add(expected)
    assert len(chosen) > 1
    assert _choose(rng.normal(0, 1, (3, 2)), np.array([0, 1, 1])) == FEW_LABEL_C  # too few samples for folds


@pytest.mark.parametrize("name", PROBES)
def test_one_class_is_always_named(name: str) -> None:
    assert PROBES[name](np.eye(3), np.array([2, 2, 2]), np.eye(3)[:2], True).tolist() == [2, 2]
