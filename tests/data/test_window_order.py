"""Shards permuted, samples permuted inside windows: still a pure function of (seed, epoch, position)."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnimask.data.order import AUTO_WINDOW, StreamOrder, WindowOrder, stream_order
from omnimask.errors import UserError


@st.composite
def orders(draw: st.DrawFn) -> WindowOrder:
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=9))
    starts = np.cumsum([0, *sizes[:-1]])
    held_out = draw(st.sets(st.integers(0, sum(sizes) - 1), max_size=sum(sizes) - 1))
    indices = [index for index in range(sum(sizes)) if index not in held_out]
    return WindowOrder(indices, starts, draw(st.integers(0, 2**40)), draw(st.integers(1, 30)))


class Grouped:
    def __init__(self, *starts: int) -> None:
        self.group_starts = np.array(starts)


@given(orders(), st.integers(0, 5))
def test_every_epoch_visits_every_sample_once(order: WindowOrder, epoch: int) -> None:
    assert sorted(order.take(epoch, 0, order.num_samples).tolist()) == order.indices.tolist()


@given(orders(), st.integers(0, 3), st.data())
def test_any_range_is_that_of_the_whole_epoch(order: WindowOrder, epoch: int, data: st.DataObject) -> None:
    stop = data.draw(st.integers(0, order.num_samples))
    start = data.draw(st.integers(0, stop))
    fresh = pickle.loads(pickle.dumps(order))  # noqa: S301
    assert fresh.take(epoch, start, stop).tolist() == order.take(epoch, 0, order.num_samples)[start:stop].tolist()


@given(orders(), st.integers(0, 3))
def test_a_window_reads_consecutive_groups_of_the_permuted_sequence(order: WindowOrder, epoch: int) -> None:
    """Sorted back into its windows, the sequence is groups end to end, each whole and ascending."""
    sequence: list[int] = []
    permuted, _ = order._permuted_groups(epoch)
    for group in permuted:
        sequence += order.indices[order._first[group] : order._first[group] + order._size[group]].tolist()
    for start in range(0, order.num_samples, order.window):
        stop = min(start + order.window, order.num_samples)
        assert sorted(order.take(epoch, start, stop).tolist()) == sorted(sequence[start:stop])


def test_epochs_seeds_and_windows_differ() -> None:
    starts = np.arange(0, 100, 10)
    order, other = WindowOrder(np.arange(100), starts, 1, 20), WindowOrder(np.arange(100), starts, 2, 20)
    assert not np.array_equal(order.take(0, 0, 100), order.take(1, 0, 100))
    assert not np.array_equal(order.take(0, 0, 100), other.take(0, 0, 100))
    ranks = [np.argsort(order.take(0, start, start + 20)).tolist() for start in range(0, 100, 20)]
    assert len({tuple(rank) for rank in ranks}) == 5


def test_the_order_is_pinned_across_versions() -> None:
    """A resumed run must see the order with which it started: this list may never change."""
    order = WindowOrder(np.arange(9), [0, 3, 6], seed=0, window=4)
    assert order.take(0, 0, 9).tolist() == PINNED


PINNED = [0, 7, 6, 8, 2, 3, 1, 4, 5]


def test_windows_and_not_epochs_are_kept_in_memory() -> None:
    order = WindowOrder(np.arange(1000), np.arange(0, 1000, 100), 0, 10)
    for start in range(0, 1000, 5):
        order.take(0, start, start + 5)
    assert sum(map(len, order._windows.kept.values())) <= 20
    assert "_windows" in order.__dict__ and not pickle.loads(pickle.dumps(order))._windows.kept  # noqa: S301


def test_small_or_ungrouped_data_are_permuted_as_a_whole() -> None:
    assert isinstance(stream_order(Grouped(0, 5), np.arange(10), 0), StreamOrder)
    assert isinstance(stream_order(object(), np.arange(AUTO_WINDOW + 1), 0), StreamOrder)
    assert isinstance(stream_order(Grouped(0, 5), np.arange(AUTO_WINDOW + 1), 0), WindowOrder)
    found = stream_order(Grouped(0, 5), np.arange(10), 0, window=4)
    assert isinstance(found, WindowOrder) and found.window == 4


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="no training samples"):
        WindowOrder([], [0], 0, 4)
    with pytest.raises(ValueError, match="must be increasing"):
        WindowOrder([2, 1], [0], 0, 4)
    with pytest.raises(ValueError, match="at least one sample, got 0"):
        WindowOrder([0], [0], 0, 0)
    with pytest.raises(ValueError, match="positions 0 to 3 are outside an epoch of 2 samples"):
        WindowOrder([0, 1], [0], 0, 4).take(0, 0, 3)
    with pytest.raises(ValueError, match="an epoch must be at least 0, got -1"):
        WindowOrder([0, 1], [0], 0, 4).take(-1, 0, 2)


def test_windows_are_no_larger_than_what_a_data_set_keeps() -> None:
    class Stream(Grouped):
        buffer = 20

    found = stream_order(Stream(0, 50), np.arange(100), 0)
    assert isinstance(found, WindowOrder) and found.window == 20
    with pytest.raises(UserError, match=r"data\.window: 21 samples are shuffled together, but the data set buffers 20;"):
        stream_order(Stream(0, 50), np.arange(100), 0, window=21)
