"""Keyed numbers: the published generator, whatever the count, and no stage shares them with another."""

from __future__ import annotations

import numpy as np
import pytest

from omnimask.interfaces import Draw

GOLDEN, WORD = 0x9E3779B97F4A7C15, (1 << 64) - 1


def splitmix(state: int) -> float:
    """SplitMix64's output of a state, as its authors write it, as a number in [0, 1)."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & WORD
    return ((state ^ (state >> 31)) >> 11) / 2**53


@pytest.mark.parametrize("count", [0, 1, 2, 4096, 4097, 9000])
def test_uniform_is_splitmix_of_a_counter(count: int) -> None:
    draw = Draw(3, 1, "key")
    start = int.from_bytes(draw._digest(("a",))[:8], "little")
    wanted = [splitmix((start + GOLDEN * number) & WORD) for number in range(1, count + 1)]
    assert np.array_equal(draw.uniform(count, "a"), wanted)


def test_numbers_are_uniform() -> None:
    """Twenty bins of 5,000 expected numbers have a standard deviation of 69."""
    counts = np.histogram(Draw(0, 0, "k").uniform(100_000, "x"), bins=20, range=(0, 1))[0]
    assert abs(counts - 5000).max() < 5 * 69


def test_single_numbers_of_many_samples_are_uniform() -> None:
    counts = np.histogram([Draw(0, 0, str(n)).uniform(1, "x")[0] for n in range(20_000)], bins=10, range=(0, 1))[0]
    assert abs(counts - 2000).max() < 5 * 43


def test_everything_that_names_a_choice_changes_it() -> None:
    draw = Draw(0, 0, "k")
    others = [Draw(1, 0, "k"), Draw(0, 1, "k"), Draw(0, 0, "l"), draw.at("stage"), draw.at("stage", 1)]
    numbers = [d.uniform(3, "x").tolist() for d in (draw, *others)] + [draw.uniform(3, "y").tolist()]
    assert len({tuple(n) for n in numbers}) == len(numbers)
    assert Draw(0, 0, "k", position=5, progress=0.5).uniform(3, "x").tolist() == numbers[0]
