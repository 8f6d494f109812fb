"""Intervals by hand, and that they never leave the range of a score."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnimask.evaluation.confidence_intervals import DIFFERENCE, LOSS, SHARE, Interval, ratio_interval, t_interval, wilson_interval


def test_t_interval_by_hand() -> None:
    # mean 5, s² = (9 + 1 + 1 + 9) / 3, t(0.975, 3) = 3.18245 from a table
    found = t_interval([2, 4, 6, 8])
    half = 3.18245 * np.sqrt(20 / 3) / 2
    assert found.mean == 5
    assert (found.low, found.high) == pytest.approx((5 - half, 5 + half), rel=1e-5)
    assert t_interval([0.5]) == Interval(0.5, -np.inf, np.inf)


def test_wilson_interval_by_hand() -> None:
    # n = 10, 8 right, z = 1.959964: centre (0.8 + z²/20) / (1 + z²/10), half z √(0.016 + z²/400) / (1 + z²/10)
    z = 1.959964
    centre, half = (0.8 + z**2 / 20) / (1 + z**2 / 10), z * np.sqrt(0.016 + z**2 / 400) / (1 + z**2 / 10)
    found = wilson_interval(np.arange(10) < 8)
    assert (found.mean, found.low, found.high) == pytest.approx((0.8, centre - half, centre + half), rel=1e-5)
    assert wilson_interval(np.ones(10, bool)).low < 0.75


def test_ratio_interval_by_hand() -> None:
    # mean 12 / 8; residuals 1 - 1.5, 4 - 3, 7 - 6 + ... = (-0.5, 1, -0.5) of groups with 1, 2, 5 items
    found = ratio_interval([1, 4, 7], [1, 2, 5])
    half = 4.302653 * math.sqrt(3 / 2 * (0.25 + 1 + 0.25)) / 8
    assert (found.mean, found.low, found.high) == pytest.approx((1.5, 1.5 - half, 1.5 + half), rel=1e-6)
    assert ratio_interval([3], [2]).high == math.inf


def test_ratio_interval_of_equal_groups_is_students() -> None:
    totals = np.array([2.0, 4.0, 6.0, 8.0])
    one, other = ratio_interval(totals * 3, np.full(4, 3)), t_interval(totals)
    assert (one.mean, one.low, one.high) == pytest.approx((other.mean, other.low, other.high))


def test_shares_by_hand() -> None:
    # mean 0.5, s = 0.1 sqrt 2, t(0.975, 1) = 12.7062: half 1.27062; on log odds 1.27062 / (0.5 x 0.5) = 5.08248 around 0
    found = t_interval([0.4, 0.6], SHARE)
    assert (found.mean, found.low, found.high) == pytest.approx(
        (0.5, 1 / (1 + math.exp(5.08248)), 1 / (1 + math.exp(-5.08248))), rel=1e-4
    )
    plain = t_interval([0.4, 0.6])
    assert plain.low < 0 and plain.high > 1  # what was printed as [-77.1, 177.1]


def test_differences_and_losses_by_hand() -> None:
    found = t_interval([0.1, 0.5], DIFFERENCE)  # mean 0.3, half 2.54124; atanh(0.3) +- 2.54124 / (1 - 0.09)
    assert (found.low, found.high) == pytest.approx(tuple(math.tanh(0.30952 + sign * 2.79257) for sign in (-1, 1)), rel=1e-4)
    loss = ratio_interval([1.0, 3.0], [1, 1], LOSS)  # mean 2, half 12.7062: times and by exp(12.7062 / 2)
    assert (loss.low, loss.high) == pytest.approx((2 / math.exp(6.3531), 2 * math.exp(6.3531)), rel=1e-4)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_no_interval_leaves_the_range(values: list[float]) -> None:
    share, loss = t_interval(values, SHARE), t_interval(values, LOSS)
    assert 0 <= share.low <= share.mean + 1e-12 and share.mean <= share.high + 1e-12 <= 1 + 1e-12
    assert 0 <= loss.low <= loss.mean * (1 + 1e-12) and loss.mean <= loss.high * (1 + 1e-12)
    difference = t_interval(2 * np.array(values) - 1, DIFFERENCE)
    assert -1 <= difference.low <= difference.mean + 1e-12 and difference.mean <= difference.high + 1e-12 <= 1 + 1e-12


def test_far_from_the_bounds_it_is_the_plain_interval() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.02, 20)
    found, plain = t_interval(values, SHARE), t_interval(values)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=1e-4)


def test_values_that_are_all_one_have_no_spread() -> None:
    assert t_interval([1.0, 1.0, 1.0], SHARE) == Interval(1.0, 1.0, 1.0)
    assert t_interval([0.25, 0.25], SHARE) == Interval(0.25, 0.25, 0.25)


def test_too_few_groups_have_none() -> None:
    assert not ratio_interval([1, 2, 3, 4], [1, 1, 1, 1], LOSS, least=5).is_known
    assert ratio_interval([1, 2, 3, 4, 5], [1, 1, 1, 1, 1], LOSS, least=5).is_known
