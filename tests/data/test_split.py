"""The held-out split depends on keys and seed alone."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnimask.data.validation_split import held_out, spread, whole_keys
from omnimask.errors import UserError


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.integers(0, 60), st.floats(0, 0.99), st.integers(0, 2**40))
def test_both_sides_partition_the_samples_and_are_not_empty(num_samples: int, fraction: float, seed: int) -> None:
    train, validation = held_out([f"s{n}" for n in range(num_samples)], fraction, seed)
    assert sorted([*train, *validation]) == list(range(num_samples))
    assert len(train) >= min(num_samples, 1)
    assert len(validation) >= int(fraction > 0 and num_samples >= 2)
    assert fraction > 0 or len(validation) == 0


def test_samples_stay_on_their_side_when_others_come_and_the_order_changes() -> None:
    keys = [f"image-{n:04d}.png" for n in range(1000)]
    _, before = held_out(keys, 0.1, seed=3)
    more = [f"new-{n}" for n in range(500)] + keys[::-1]
    _, after = held_out(more, 0.1, seed=3)
    assert {keys[n] for n in before} == {more[n] for n in after if not more[n].startswith("new")}
    assert {keys[n] for n in before} != {keys[n] for n in held_out(keys, 0.1, seed=4)[1]}


def test_the_share_is_about_the_fraction() -> None:
    _, validation = held_out([str(n) for n in range(20_000)], 0.05, seed=0)
    assert abs(len(validation) / 20_000 - 0.05) < 0.005  # three standard deviations are 0.0046
    assert validation.dtype == np.int64


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5])
def test_a_fraction_outside_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"must be in \[0, 1\),"):
        held_out(["a"], fraction, seed=0)


@pytest.mark.parametrize("sizes", [[643, 1090], [1000], [300, 300, 300], [5, 1000, 7, 3], [40] * 7])
@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.3])
def test_of_few_wholes_the_share_is_held_out_that_was_asked_for(sizes: list[int], fraction: float) -> None:
    keys = [f"novel {number}" for number, size in enumerate(sizes) for _ in range(size)]
    for seed in range(5):
        train, held = held_out(keys, fraction, seed)
        assert sorted([*train, *held]) == list(range(len(keys)))
        assert fraction / 2 <= len(held) / len(keys) <= 2 * fraction


def test_wholes_are_kept_together_where_that_gives_the_share() -> None:
    sizes = [int(size) for size in np.random.default_rng(0).integers(1, 40, 50)]
    keys = [f"text {number}" for number, size in enumerate(sizes) for _ in range(size)]
    for seed in range(20):
        train, held = held_out(keys, 0.1, seed)
        assert 0.05 <= len(held) / len(keys) <= 0.2
        assert not {keys[n] for n in train} & {keys[n] for n in held}


def test_what_is_held_out_of_a_whole_is_one_stretch_of_it(caplog: pytest.LogCaptureFixture) -> None:
    keys = ["first"] * 200 + ["second"] * 400
    with caplog.at_level(logging.INFO):
        _, held = held_out(keys, 0.1, seed=2)
    for key, size in (("first", 20), ("second", 40)):
        places = [n for n in held.tolist() if keys[n] == key]
        assert places == list(range(places[0], places[0] + size))
    assert "held out for validation: 60 of 600 samples, 10.0 % (requested: 10.0 %), of 2 of 2 whole samples" in caplog.text
    assert "a contiguous range of parts of each is held out" in caplog.text


def test_two_parts_are_one_for_each_side() -> None:
    train, held = held_out(["novel"] * 2, 0.01, 0)
    assert sorted([*train, *held]) == [0, 1]
    assert len(held) == 1


class Same:
    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def key(self, index: int) -> str:
        return "sample"


def test_samples_that_share_one_key_are_the_users_error() -> None:
    with pytest.raises(UserError, match="data: all 60 samples have the key 'sample'; keys must be unique"):
        list(whole_keys(Same(60)))  # pyright: ignore[reportArgumentType]
    assert list(whole_keys(Same(1))) == ["sample"]  # pyright: ignore[reportArgumentType]


def test_a_part_of_the_held_out_samples_comes_from_everywhere() -> None:
    indices = np.arange(100, 200)
    assert spread(indices, 100).tolist() == spread(indices, 1000).tolist() == indices.tolist()
    assert spread(indices, 4).tolist() == [100, 125, 150, 175]
    assert len(set(spread(indices, 77).tolist())) == 77


def test_a_key_that_utf_8_cannot_write_is_the_users_error() -> None:
    with pytest.raises(
        UserError,
        match=r"data: the key 'a \\ud83d' contains a lone surrogate at 2, which is not valid UTF-8; change the key of the "
        "sample",
    ):
        held_out(["a", "a \ud83d"], 0.5, 0)
    held_out(["a", "bytes of a name \udce9"], 0.5, 0)
