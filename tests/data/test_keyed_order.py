"""The order of very large data sets: a permutation of every epoch, computed place by place."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnimask.data import order
from omnimask.data.order import KeyedOrder, StreamOrder, stream_order


@given(st.integers(1, 300), st.integers(0, 2**40), st.integers(0, 3))
def test_every_epoch_visits_every_sample_once(num_samples: int, seed: int, epoch: int) -> None:
    indices = np.arange(num_samples) * 3 + 1
    found = KeyedOrder(indices, seed).take(epoch, 0, num_samples)
    assert sorted(found.tolist()) == indices.tolist()


@given(st.integers(1, 300), st.data())
def test_any_range_is_a_range_of_the_epoch(num_samples: int, data: st.DataObject) -> None:
    keyed = KeyedOrder(np.arange(num_samples), 5)
    start = data.draw(st.integers(0, num_samples))
    stop = data.draw(st.integers(start, num_samples))
    assert keyed.take(1, start, stop).tolist() == KeyedOrder(np.arange(num_samples), 5).take(1, 0, num_samples)[start:stop].tolist()
    with pytest.raises(ValueError, match="are outside an epoch"):
        keyed.take(1, 0, num_samples + 1)


def test_orders_look_uniform_and_differ_by_seed_and_epoch() -> None:
    """Every sample is at every place about equally often, and neighbors are no closer than in a random permutation."""
    num_samples, orders = 10, 20_000
    found = np.stack([KeyedOrder(np.arange(num_samples), seed).take(0, 0, num_samples) for seed in range(orders)])
    seen = np.stack([np.bincount(found[:, place], minlength=num_samples) for place in range(num_samples)])
    expected = orders / num_samples
    chi_squared = ((seen - expected) ** 2 / expected).sum()
    assert 81 - 5 * np.sqrt(2 * 81) < chi_squared < 81 + 5 * np.sqrt(2 * 81)  # 9 * 9 degrees of freedom, 5 standard deviations
    large = [KeyedOrder(np.arange(100_000), seed).take(epoch, 0, 100_000) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    for first in large:
        assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.02
        assert abs(np.corrcoef(first, np.arange(100_000))[0, 1]) < 0.02
    assert all((large[0] == other).sum() < 12 for other in large[1:])  # one expected


def test_a_step_of_a_billion_samples_needs_no_permutation() -> None:
    class Numbers:
        """Stands for a billion indices without holding them."""

        def __len__(self) -> int:
            return 10**9

        def __getitem__(self, places: np.ndarray) -> np.ndarray:
            return places

    keyed = KeyedOrder(Numbers(), 0)  # pyright: ignore[reportArgumentType]
    tracemalloc.start()
    found = keyed.take(7, 123_456_789, 123_456_789 + 4096)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(set(found.tolist())) == 4096 and found.min() >= 0 and found.max() < 10**9
    assert most < 2_000_000
    assert abs(found.mean() / 10**9 - 0.5) < 0.03  # six standard deviations


def test_it_begins_where_the_permutation_in_memory_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "LARGE", 10)
    assert isinstance(stream_order(object(), np.arange(10), 0), StreamOrder)
    assert isinstance(stream_order(object(), np.arange(11), 0), KeyedOrder)
