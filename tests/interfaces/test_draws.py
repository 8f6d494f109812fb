"""Draws of many samples give the numbers of each, bit for bit."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest

from omnimask.interfaces import Draw, Draws
from omnimask.interfaces.schedules import RatioSchedule, value_at, values_at

COUNTS = (0, 1, 2, 7, 0, 5000, 1, 300)


def draws(count: int = len(COUNTS), *, stages: bool = True) -> list[Draw]:
    """Keys with quotes and letters beyond ASCII, as file names have them; some rows of a group, which have a stage of their own."""
    made = [Draw(3, number % 2, f"ä '{number}\" \\", number, number / count, stage=("train",)) for number in range(count)]
    return [draw.at("row", number) if stages and number % 3 == 2 else draw for number, draw in enumerate(made)]


@pytest.mark.parametrize("stages", [False, True])
@pytest.mark.parametrize("purpose", [(), ("order",), ("blocks", 3)])
def test_uniform_numbers_are_those_of_each(stages: bool, purpose: tuple[str | int, ...]) -> None:
    single = draws(stages=stages)
    for stage in ((), ("masker",), ("masker", "text", 2)):
        many, each = Draws(single).at(*stage), [draw.at(*stage) for draw in single]
        wanted = np.concatenate([draw.uniform(count, *purpose) for draw, count in zip(each, COUNTS, strict=True)])
        assert np.array_equal(many.uniform(COUNTS, *purpose), wanted)
        assert list(many) == each and [many[row] for row in range(len(many))] == each


def test_few_samples_and_many_numbers() -> None:
    assert Draws(()).uniform(()).shape == (0,)
    assert Draws(draws()).uniform(np.zeros(len(COUNTS), np.int64), "none").shape == (0,)
    one = Draw(0, 0, "k")
    for count in (2**20 + 3, 1 << 20, 70_000):  # beyond, at and inside the table of steps
        assert np.array_equal(Draws([one]).uniform([count], "x"), one.uniform(count, "x"))


def test_a_part_of_them_and_copies() -> None:
    many, rows = Draws(draws()).at("masker"), np.array([1, 3, 4])
    assert list(many.take(rows)) == [many[1], many[3], many[4]]
    assert list(many[1:4:2]) == [many[1], many[3]]
    assert many.take(np.arange(len(many))) is many
    assert list(pickle.loads(pickle.dumps(many))) == list(many)  # noqa: S301
    assert many.keys == tuple(draw.key for draw in draws())


def test_values_of_a_schedule() -> None:
    many = Draws(draws())
    rising = RatioSchedule(schedule="cosine", start=0.1, end=0.7, until=0.6)
    for value in (0.15, rising):
        assert values_at(value, many).tolist() == [value_at(value, draw) for draw in many]
    assert all(left < right for left, right in pairwise(values_at(rising, many)[:4]))
