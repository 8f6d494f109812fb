"""The stream of samples and its cut into steps are pure functions: nothing that ran before changes them."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnimask.data.order import StreamOrder
from omnimask.data.planner import Cursor, Place, Planner, StepPlan

fixed = settings(derandomize=True, deadline=None, max_examples=60)


@st.composite
def planners(draw: st.DrawFn) -> Planner:
    num_samples = draw(st.integers(1, 40))
    counts = draw(st.one_of(st.integers(1, 20), st.lists(st.integers(0, 30), min_size=num_samples, max_size=num_samples)))
    return Planner(
        StreamOrder(num_samples, draw(st.integers(0, 2**31))),
        counts if isinstance(counts, int) else np.array(counts),
        batch_tokens=draw(st.integers(1, 120)),
        micro_batch_tokens=draw(st.integers(1, 120)),
        steps=30,
    )


def plans(planner: Planner, first: int = 0, cursor: Cursor | None = None) -> list[StepPlan]:
    found: list[StepPlan] = []
    cursor = cursor or Cursor()
    for step in range(first, planner.steps):
        found.append(planner.step(step, cursor))
        cursor = found[-1].after
    return found


def tokens(planner: Planner, places: tuple[Place, ...]) -> int:
    counts = planner.counts
    return sum(max(1, int(counts if isinstance(counts, int | np.integer) else counts[place.index])) for place in places)


@fixed
@given(planners())
def test_steps_are_contiguous_and_show_every_sample_once_per_epoch(planner: Planner) -> None:
    places = [place for plan in plans(planner) for place in plan.places]
    size = planner.order.num_samples
    assert [(place.epoch, place.position) for place in places] == [divmod(n, size) for n in range(len(places))]
    for start in range(0, len(places) - size + 1, size):
        assert sorted(place.index for place in places[start : start + size]) == list(range(size))


@fixed
@given(planners(), st.integers(0, 29))
def test_planning_goes_on_from_any_cursor(planner: Planner, first: int) -> None:
    whole = plans(planner)
    cursor = whole[first - 1].after if first else Cursor()
    fresh = pickle.loads(pickle.dumps(planner))  # noqa: S301
    assert plans(fresh, first, cursor) == whole[first:]


@fixed
@given(planners())
def test_budgets_hold_and_are_used_up(planner: Planner) -> None:
    whole = plans(planner)
    for plan, following in pairwise(whole):
        assert tokens(planner, plan.places) <= planner.batch_tokens or len(plan.places) == 1
        assert tokens(planner, (*plan.places, following.places[0])) > planner.batch_tokens
        for part in plan.micro_batches:
            assert part
            assert tokens(planner, part) <= planner.micro_batch_tokens or len(part) == 1
        for part, after in pairwise(plan.micro_batches):
            assert tokens(planner, (*part, after[0])) > planner.micro_batch_tokens


def test_epochs_differ_and_seeds_differ() -> None:
    order = StreamOrder(100, seed=1)
    assert not np.array_equal(order.epoch(0), order.epoch(1))
    assert not np.array_equal(order.epoch(0), StreamOrder(100, seed=2).epoch(0))
    assert np.array_equal(order.epoch(7), StreamOrder(100, seed=1).epoch(7))


def test_the_order_is_pinned_across_versions() -> None:
    """A resumed run must see the order with which it started: this list may never change."""
    assert StreamOrder(8, seed=0).epoch(0).tolist() == [3, 6, 4, 0, 7, 5, 2, 1]


def test_only_two_epochs_are_kept_in_memory() -> None:
    order = StreamOrder(10, seed=0)
    for epoch in range(5):
        order.epoch(epoch)
    assert list(order._epochs.kept) == [3, 4]


def test_a_part_of_a_data_set_is_permuted_by_its_own_indices() -> None:
    order = StreamOrder(3, seed=0, indices=[5, 9, 2])
    assert sorted(order.take(4, 0, 3)) == [2, 5, 9]
    planner = Planner(order, np.full(10, 7), batch_tokens=21, micro_batch_tokens=7, steps=1)
    assert len(planner.step(0, Cursor()).micro_batches) == 3
    with pytest.raises(ValueError, match="counts has 9 entries, but the order visits data set index 9"):
        Planner(order, np.full(9, 7), batch_tokens=21, micro_batch_tokens=7, steps=1)


def test_a_sample_larger_than_a_batch_gets_a_step_of_its_own() -> None:
    planner = Planner(StreamOrder(4, seed=0), np.array([1, 100, 1, 1]), batch_tokens=10, micro_batch_tokens=5, steps=4)
    alone = [plan for plan in plans(planner) if any(place.index == 1 for place in plan.places)]
    assert alone
    assert all(len(plan.places) == 1 for plan in alone)


def test_progress_counts_from_zero_to_less_than_one() -> None:
    planner = Planner(StreamOrder(4, seed=0), 1, batch_tokens=2, micro_batch_tokens=2, steps=4)
    assert [plan.places[0].progress for plan in plans(planner)] == [0.0, 0.25, 0.5, 0.75]
    with pytest.raises(ValueError, match="step 4 is outside a run of 4 steps"):
        planner.step(4, Cursor())


def test_an_empty_data_set_is_named() -> None:
    with pytest.raises(ValueError, match="no training samples"):
        StreamOrder(0, seed=0)
