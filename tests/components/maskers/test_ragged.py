"""Budgets and picks of many samples are those of each, ties and overflows included."""

from __future__ import annotations

import numpy as np
import pytest

from omnimask.components.maskers import ragged
from omnimask.components.maskers.budget import num_hidden, pick, pick_units
from omnimask.interfaces import Draw, Draws

LENGTHS = np.array([0, 1, 2, 100, 13, 0, 64, 7])
DRAWS = Draws(Draw(0, 0, str(number)) for number in range(len(LENGTHS)))


@pytest.mark.parametrize("ratio", [0.07, 0.15, 1 / 3, 0.5, 1.0])
def test_numbers_and_picks(ratio: float) -> None:
    number = ragged.num_hidden_each(LENGTHS, np.full(len(LENGTHS), ratio), DRAWS)
    assert number.tolist() == [num_hidden(length, ratio, draw) for length, draw in zip(LENGTHS.tolist(), DRAWS, strict=True)]
    picked = [pick(length, n, draw) for length, n, draw in zip(LENGTHS.tolist(), number.tolist(), DRAWS, strict=True)]
    assert np.array_equal(ragged.pick_each(LENGTHS, number, DRAWS), np.concatenate(picked))


def wanted_lowest(uniform: np.ndarray, lengths: np.ndarray, number: np.ndarray) -> np.ndarray:
    parts = []
    for own, count in zip(np.split(uniform, np.cumsum(lengths)[:-1]), number.tolist(), strict=True):
        is_picked = np.zeros(len(own), bool)
        is_picked[np.argsort(own, kind="stable")[:count]] = True
        parts.append(is_picked)
    return np.concatenate(parts)


def wanted_order(uniform: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    starts = np.cumsum(lengths) - lengths
    parts = np.split(uniform, np.cumsum(lengths)[:-1])
    return np.concatenate([start + np.argsort(own, kind="stable") for start, own in zip(starts, parts, strict=True)])


@pytest.mark.parametrize("samples", [1, 50, 2047, 2048, 5000])
@pytest.mark.parametrize("ties", [False, True])
def test_lowest_and_order_with_ties_and_with_more_samples_than_fit_into_a_key(samples: int, ties: bool) -> None:
    rng = np.random.default_rng(samples)
    lengths = rng.integers(0, 9, samples)
    number = rng.integers(0, lengths + 2)  # more than there are, too
    uniform = Draw(0, 0, "x").uniform(int(lengths.sum()))
    if ties:
        uniform = np.floor(uniform * 3) / 4
    assert np.array_equal(ragged.lowest(uniform, lengths, number), wanted_lowest(uniform, lengths, number))
    assert np.array_equal(ragged.order_each(uniform, lengths), wanted_order(uniform, lengths))


def test_the_largest_and_the_smallest_number_of_a_draw() -> None:
    uniform = np.array([1 - 2.0**-53, 0.0, 2.0**-53, 1 - 2.0**-53, 0.0])
    lengths, number = np.array([3, 2]), np.array([2, 2])
    assert ragged.lowest(uniform, lengths, number).tolist() == [False, True, True, True, True]


@pytest.mark.parametrize("span", [1, 5, 10**6, 2**62])
def test_names_are_numbered_as_by_unique(span: int) -> None:
    rng = np.random.default_rng(1)
    owner = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    names = rng.integers(0, span, len(owner))
    found = ragged.numbered(names, owner, len(LENGTHS))
    each = [np.unique(names[owner == row], return_inverse=True, return_counts=True) for row in range(len(LENGTHS))]
    assert np.array_equal(found.number, np.concatenate([inverse for _, inverse, _ in each]))
    assert found.count.tolist() == [len(own) for own, _, _ in each]
    assert found.size.tolist() == [size for _, _, sizes in each for size in sizes.tolist()]
    assert np.array_equal(found.size[found.place], np.concatenate([sizes[inverse] for _, inverse, sizes in each]))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0, 2.0])
def test_units(share: float) -> None:
    counts = np.array([0, 4, 1, 30, 0, 12, 3, 2])
    size = np.random.default_rng(2).integers(1, 6, int(counts.sum()))
    parts = np.split(size, np.cumsum(counts)[:-1])
    budget = share * np.array([part.sum() for part in parts])
    wanted = [pick_units(part, own, draw) for part, own, draw in zip(parts, budget.tolist(), DRAWS, strict=True)]
    assert np.array_equal(ragged.pick_units_each(size, counts, budget, DRAWS), np.concatenate(wanted))
