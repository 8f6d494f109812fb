"""The split of very many samples: equal to its definition for every sample, hashed by ranges, and kept on disk."""

from __future__ import annotations

import logging
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.data.earlier_split import held_out as earlier

from omnimask.data import low_scores, order, validation_split
from omnimask.data.order import KeyedOrder, StreamOrder, WindowOrder, shuffled
from omnimask.data.scans import RangeScan
from omnimask.data.training_indices import TrainingIndices, blocks, tokens_in
from omnimask.data.validation_split import held_out, split_samples, spread
from omnimask.data.whole_parts import WholeParts
from omnimask.errors import UserError

FRACTIONS = st.one_of(st.floats(0, 0.99), st.sampled_from([0.0, 0.001, 0.01, 0.05, 0.1, 0.3, 0.5, 0.9]))
SEEDS = st.integers(0, 2**40)


class Plain:
    """Data set of keys. Counts how many were asked for."""

    def __init__(self, keys: list[str]) -> None:
        self.keys, self.asked = keys, 0

    def __len__(self) -> int:
        return len(self.keys)

    def key(self, index: int) -> str:
        self.asked += 1
        return self.keys[index]

    def __getitem__(self, index: int) -> dict[str, str]:
        return {"text": self.keys[index]}

    def fingerprint(self) -> str:
        return repr(self.keys)


class Parts(Plain):
    """Data set of parts of wholes."""

    def __init__(self, keys: list[str], sizes: list[int]) -> None:
        super().__init__(keys)
        self.first = np.cumsum([0, *sizes]).astype(np.uint32)

    def __len__(self) -> int:
        return int(self.first[-1])

    def wholes(self) -> WholeParts:
        return WholeParts(self.key, self.first, self.fingerprint)


def assert_equal(found: tuple[TrainingIndices, np.ndarray], wanted: tuple[np.ndarray, np.ndarray]) -> None:
    assert found[0].tolist() == wanted[0].tolist()
    assert found[1].tolist() == wanted[1].tolist()
    assert found[1].dtype == np.int64


@given(st.lists(st.integers(0, 40).map("key {}".format), max_size=60), FRACTIONS, SEEDS)
def test_keys_are_split_as_before_whatever_repeats(keys: list[str], fraction: float, seed: int) -> None:
    assert_equal(held_out(keys, fraction, seed), earlier(keys, fraction, seed))


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 90)), max_size=30), FRACTIONS, SEEDS)
def test_wholes_are_split_as_before_whatever_their_sizes(wholes: list[tuple[int, int]], fraction: float, seed: int) -> None:
    keys, sizes = [f"whole {number}" for number, _ in wholes], np.array([size for _, size in wholes], np.int64)
    assert_equal(held_out(keys, fraction, seed, sizes), earlier(keys, fraction, seed, sizes))


@pytest.mark.parametrize("fraction", [0.0001, 0.002, 0.05, 0.4])
def test_thousands_of_keys_and_wholes_are_split_as_before(fraction: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation_split, "_BLOCK", 100)
    rng, keys = np.random.default_rng(0), [f"texts.jsonl:{number}" for number in range(5_000)]
    some = [rng.geometric(0.02, 5_000), np.where(rng.random(5_000) < 0.001, 200_000, 1), np.ones(5_000, np.int64)]
    for sizes in some:
        assert_equal(held_out(keys, fraction, 7, sizes), earlier(keys, fraction, 7, sizes))


@pytest.fixture
def by_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_scores, "RANGE", 7)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=40), FRACTIONS, SEEDS)
def test_a_split_by_ranges_is_that_of_all_keys(
    by_ranges: None, tmp_path_factory: pytest.TempPathFactory, sizes: list[int], fraction: float, seed: int
) -> None:
    keys, cache = [f"whole {number}" for number in range(len(sizes))], tmp_path_factory.mktemp("cache")
    plain, parts = Plain(keys), Parts(keys, sizes)
    there = [(key, size) for key, size in zip(keys, sizes, strict=True) if size]
    wanted = earlier([key for key, _ in there], fraction, seed, np.array([size for _, size in there], np.int64))
    for _ in range(2):  # the second time from the cache
        assert_equal(split_samples(plain, fraction, seed, cache), earlier(keys, fraction, seed))
        assert_equal(split_samples(parts, fraction, seed, cache), wanted)


def test_keys_are_hashed_once_for_data_seed_and_fraction(by_ranges: None, tmp_path: Path) -> None:
    dataset = Plain([f"key {number}" for number in range(200)])
    first = split_samples(dataset, 0.2, 1, tmp_path)
    assert dataset.asked > 200
    dataset.asked = 0
    assert_equal(split_samples(dataset, 0.2, 1, tmp_path), (np.asarray(first[0]), first[1]))
    assert dataset.asked < 5
    assert not list(tmp_path.rglob("*.ranges"))
    for fraction, seed in ((0.3, 1), (0.2, 2)):
        dataset.asked = 0
        assert_equal(split_samples(dataset, fraction, seed, tmp_path), earlier(dataset.keys, fraction, seed))
        assert dataset.asked > 200


def test_wholes_that_became_empty_are_split_anew(by_ranges: None, tmp_path: Path) -> None:
    keys = [f"key {number}" for number in range(100)]
    for sizes in ([2] * 100, [2, 0] * 50, [0, 2] * 50):
        there = [number for number, size in enumerate(sizes) if size]
        wanted = earlier([keys[number] for number in there], 0.2, 3, np.full(len(there), 2))
        assert_equal(split_samples(Parts(keys, sizes), 0.2, 3, tmp_path), wanted)


def test_a_damaged_split_is_made_anew(by_ranges: None, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = Plain([f"key {number}" for number in range(200)])
    wanted = earlier(dataset.keys, 0.2, 1)
    split_samples(dataset, 0.2, 1, tmp_path)
    (file,) = tmp_path.rglob("low.npy")
    file.write_bytes(file.read_bytes()[:-3] + b"abc")
    with caplog.at_level(logging.WARNING):
        assert_equal(split_samples(dataset, 0.2, 1, tmp_path), wanted)
    assert "splits" in caplog.text


def test_what_another_process_has_split_meanwhile_is_not_hashed_again(
    by_ranges: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, other = Plain([f"key {number}" for number in range(200)]), Plain([f"key {number}" for number in range(200)])
    wanted, run = earlier(dataset.keys, 0.2, 1), RangeScan.run

    def later(scan: RangeScan) -> None:
        monkeypatch.setattr(RangeScan, "run", run)
        assert_equal(split_samples(other, 0.2, 1, tmp_path), wanted)
        dataset.asked = 0
        run(scan)

    monkeypatch.setattr(RangeScan, "run", later)
    assert_equal(split_samples(dataset, 0.2, 1, tmp_path), wanted)
    assert dataset.asked == 0


def test_a_cache_that_cannot_be_written_changes_no_split(by_ranges: None, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = Plain([f"key {number}" for number in range(200)])
    (tmp_path / "splits").write_text("a file where a folder should be")
    assert_equal(split_samples(dataset, 0.2, 1, tmp_path), earlier(dataset.keys, 0.2, 1))
    assert "are not cached" in caplog.text


def test_faulty_keys_of_many_are_refused(by_ranges: None, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="all 20 samples have the key 'a'"):
        split_samples(Plain(["a"] * 20), 0.2, 1, tmp_path)
    keys = [f"key {number}" for number in range(20)]
    with pytest.raises(UserError, match="lone surrogate at 2"):
        split_samples(Plain([*keys, "a \ud83d"]), 0.2, 1, tmp_path)
    with pytest.raises(ValueError, match=r"must be in \[0, 1\), got 1"):
        split_samples(Plain(keys), 1, 1, tmp_path)


@st.composite
def some_indices(draw: st.DrawFn) -> tuple[TrainingIndices, np.ndarray]:
    total = draw(st.integers(0, 400))
    held = np.array(sorted(draw(st.sets(st.integers(0, max(0, total - 1)), max_size=total))), np.int64)
    return TrainingIndices(total, held), np.setdiff1d(np.arange(total), held)


@given(some_indices(), st.data())
def test_training_indices_read_like_an_array(pair: tuple[TrainingIndices, np.ndarray], data: st.DataObject) -> None:
    found, wanted = pair
    assert len(found) == len(wanted) and found.tolist() == list(found) == wanted.tolist()
    assert np.asarray(found).dtype == np.int64 and np.array_equal(np.concatenate([*blocks(found), []]), wanted)
    start, stop, step = (data.draw(st.one_of(st.none(), st.integers(-500, 500).filter(bool))) for _ in range(3))
    assert found[start:stop:step].tolist() == wanted[start:stop:step].tolist()
    assert TrainingIndices.of(wanted).tolist() == wanted.tolist()
    bounds = np.sort(np.array(data.draw(st.lists(st.integers(0, 500), max_size=9)), np.int64))
    assert found.num_below(bounds).tolist() == np.searchsorted(wanted, bounds).tolist()
    assert spread(found, 7).tolist() == spread(wanted, 7).tolist()
    if len(wanted):
        places = np.array(data.draw(st.lists(st.integers(0, len(wanted) - 1), max_size=20)), np.int64)
        assert found[places].tolist() == wanted[places].tolist() and found[places].dtype == np.int64
        assert found.max() == wanted[-1] == found[-1] and found[0] == wanted[0]
        counts = np.arange(500).astype(np.uint16)[::-1].copy()
        assert tokens_in(counts, found) == (counts[wanted].min(), counts[wanted].sum(), counts[wanted].max())


def test_places_outside_are_errors() -> None:
    found = TrainingIndices(4, np.array([1]))
    for place in (3, -4, np.array([0, 3]), np.array([-1])):
        with pytest.raises(IndexError, match="out of range for 3 indices"):
            found[place]
    with pytest.raises(ValueError, match="must be increasing"):
        TrainingIndices.of([0, 2, 2])


ORDERS: list[Callable[[TrainingIndices | np.ndarray], object]] = [
    lambda indices: StreamOrder(len(indices), 3, indices).take(1, 0, len(indices)),
    lambda indices: KeyedOrder(indices, 3).take(1, 0, len(indices)),  # pyright: ignore[reportArgumentType]
    lambda indices: WindowOrder(indices, np.arange(0, 5_000, 50), 3, 64).take(1, 0, len(indices)),
]


@pytest.mark.parametrize("take", ORDERS)
def test_orders_visit_the_same_samples_of_either_form(take: Callable[[TrainingIndices | np.ndarray], np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    held = np.union1d(np.flatnonzero(rng.random(5_000) < 0.1), np.arange(1_000, 1_200))  # groups without a training sample
    compact = TrainingIndices(5_000, held)
    assert take(compact).tolist() == take(np.asarray(compact)).tolist()


def test_a_corpus_of_many_samples_is_shuffled_without_a_permutation(monkeypatch: pytest.MonkeyPatch) -> None:
    indices = TrainingIndices(1_000, np.arange(0, 1_000, 7))
    wanted = np.asarray(indices)[np.random.default_rng(5).permutation(len(indices))]
    assert list(shuffled(indices, np.random.default_rng(5))) == wanted.tolist()
    monkeypatch.setattr(order, "LARGE", 100)
    found = list(shuffled(indices, np.random.default_rng(5)))
    assert sorted(found) == indices.tolist() and found != wanted.tolist() and found != sorted(found)


def test_the_memory_of_very_many_samples_is_that_of_the_held_out_ones() -> None:
    held = np.arange(0, 10**9, 100_000)
    tracemalloc.start()
    indices = TrainingIndices(10**9, held)
    keyed = KeyedOrder(indices, 0)
    found = keyed.take(0, 5 * 10**8, 5 * 10**8 + 4_096)
    windows = WindowOrder(indices, np.arange(0, 10**9, 10**6), 0, 65_536).take(0, 10**8, 10**8 + 64)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 2**20
    assert len(set(found.tolist())) == 4_096 and not set(found.tolist()) & set(held.tolist())
    assert len(windows) == 64
