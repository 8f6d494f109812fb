"""Order of the samples of a run: an endless stream, as a pure function of the seed.

N samples of an epoch, G groups of samples stored together (shards).
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from omnimask.data.training_indices import Indices, TrainingIndices
from omnimask.errors import UserError
from omnimask.interfaces.draw import mixed

AUTO_WINDOW = 65_536
"""Samples in a shuffle window if a recipe specifies ``auto`` and the data set has groups."""

LARGE = 1 << 22
"""Samples up to which the permutation of an epoch is held in memory. Part of the definition of a run's order."""

_KEPT = 2
"""Number of epochs or windows to keep in memory. A step may cross the boundary between two."""

_ROUNDS = 6
"""Rounds of the Feistel network; four make it a pseudorandom permutation if the round functions are."""

T = TypeVar("T")


@runtime_checkable
class Grouped(Protocol):
    """Optional interface of data sets whose samples are stored in groups for cheap sequential reading, such as shards."""

    @property
    def group_starts(self) -> NDArray[np.int64] | None:
        """Index of the first sample of every group (G,), ascending from 0, without empty groups. None if there are no groups."""
        ...


@runtime_checkable
class Buffered(Protocol):
    """Optional interface of data sets that are read sequentially and keep the most recent samples."""

    @property
    def buffer(self) -> int | None:
        """Number of samples kept, an upper limit for windows. None if any order is cheap."""
        ...


def reading_processes(dataset: object) -> int:
    """Return the number of processes that may read different ranges of a data set: 1 if it is read sequentially."""
    return 1 if isinstance(dataset, Buffered) and dataset.buffer is not None else sys.maxsize


class Order(Protocol):
    """Sample order of an epoch. ``indices`` (N,) are the data set indices visited once per epoch."""

    num_samples: int
    indices: Indices

    def take(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """Return the (stop - start,) data set indices at the positions ``[start, stop)`` of an epoch; both count from 0."""
        ...


def stream_order(dataset: object, indices: Indices, seed: int, window: int | Literal["auto"] = "auto") -> Order:
    """Return the order of a data set's samples.

    Args:
        dataset: if it is :class:`Grouped` and larger than a window, groups are shuffled, and samples within windows. Otherwise all
            samples are shuffled; more than 4,194,304 of them without a permutation in memory.
        indices: (N,) ascending indices to visit, for example the training split.
        seed: the run's seed.
        window: samples in a shuffle window; ``auto`` is 65,536, or the buffer of a :class:`Buffered` data set.

    Raises:
        UserError: the window is larger than the buffer of the data set.
    """
    kept = dataset.buffer if isinstance(dataset, Buffered) else None
    size = min(AUTO_WINDOW, kept or AUTO_WINDOW) if window == "auto" else window
    if kept is not None and size > kept:
        raise UserError(f"data.window: {size:,} samples are shuffled together, but the data set buffers {kept:,}; raise its buffer")
    starts = dataset.group_starts if isinstance(dataset, Grouped) else None
    if starts is not None and len(indices) > size:
        return WindowOrder(indices, starts, seed, size)
    if len(indices) > LARGE:
        return KeyedOrder(indices, seed)
    return StreamOrder(len(indices), seed, indices)


def shuffled(indices: Indices, rng: np.random.Generator) -> Iterator[int]:
    """Yield the indices in random order; more than 4,194,304 of them without a permutation in memory."""
    places = range(0, len(indices), AUTO_WINDOW)
    if len(indices) <= LARGE:
        order = rng.permutation(len(indices))
        found = (indices[order[start : start + AUTO_WINDOW]] for start in places)
    else:
        keyed = KeyedOrder(indices, int(rng.integers(2**63)))
        found = (keyed.take(0, start, min(start + AUTO_WINDOW, len(indices))) for start in places)
    for block in found:
        yield from block.tolist()


class StreamOrder:
    """Order in which every epoch is a permutation of all samples, keyed by (seed, epoch).

    Args:
        num_samples: samples per epoch, more than 0.
        seed: the run's seed.
        indices: (num_samples,) data set indices to permute, for example the training split; None means ``0 .. num_samples - 1``.
    """

    def __init__(self, num_samples: int, seed: int, indices: ArrayLike | TrainingIndices | None = None) -> None:
        self.indices: Indices = np.arange(num_samples) if indices is None else np.array(indices, np.int64)
        _check_not_empty(num_samples)
        if self.indices.shape != (num_samples,):
            raise ValueError(f"num_samples is {num_samples}, but indices have shape {self.indices.shape}")
        self.num_samples = num_samples
        self.seed = seed
        self._epochs: _Last[NDArray[np.int64]] = _Last()

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """Return the (num_samples,) data set indices in the order of one epoch; epochs count from 0."""
        return self._epochs(epoch, lambda: self.indices[_generator(self.seed, epoch).permutation(self.num_samples)])

    def take(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """Return the (stop - start,) data set indices at the positions ``[start, stop)`` of an epoch."""
        _check_range(start, stop, self.num_samples)
        return self.epoch(epoch)[start:stop]


class KeyedOrder:
    """Order in which every epoch is a keyed permutation of all samples, computed place by place.

    A Feistel network permutes the numbers of an even number of bits; a result beyond the samples is permuted again until it is a
    sample's ("cycle walking" [0]). Round functions are SplitMix64 mixes keyed by (seed, epoch, round).

    Args:
        indices: (N,) data set indices to visit.
        seed: the run's seed.

    [0] Black, Rogaway: Ciphers with arbitrary finite domains, CT-RSA 2002.
    """

    def __init__(self, indices: Indices, seed: int) -> None:
        self.indices: Indices = indices
        self.num_samples = len(indices)
        self.seed = seed
        _check_not_empty(self.num_samples)
        self._half = np.uint64(max(1, -(-(self.num_samples - 1).bit_length() // 2)))  # bits of each half
        self._keys: _Last[NDArray[np.uint64]] = _Last()

    def take(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """Return the (stop - start,) data set indices at the positions ``[start, stop)`` of an epoch."""
        _check_range(start, stop, self.num_samples)
        keys = self._keys(epoch, lambda: _generator(self.seed, epoch, 3).integers(0, 2**64, _ROUNDS, np.uint64))
        places = np.arange(start, stop, dtype=np.uint64)
        outside = np.arange(len(places))
        while len(outside):
            places[outside] = self._permuted(places[outside], keys)
            outside = outside[places[outside] >= self.num_samples]
        return self.indices[places.astype(np.int64)]

    def _permuted(self, places: NDArray[np.uint64], keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
        low = np.uint64((1 << int(self._half)) - 1)
        left, right = places >> self._half, places & low
        for key in keys:
            left, right = right, left ^ (mixed(right + key) & low)
        return (left << self._half) | right


class WindowOrder:
    """Order in which every epoch shuffles the groups, concatenates them, and shuffles samples within windows of the result.

    Samples visited together thus come from few groups, and a whole epoch is never in memory: a window depends on (seed, epoch,
    window) alone.

    Args:
        indices: (N,) ascending data set indices to visit.
        group_starts: (G,) ascending index of the first sample of every group of the data set, starting with 0.
        seed: the run's seed.
        window: samples in a window.
    """

    def __init__(self, indices: ArrayLike | TrainingIndices, group_starts: ArrayLike, seed: int, window: int) -> None:
        self.indices: Indices = indices if isinstance(indices, TrainingIndices) else TrainingIndices.of(indices)
        self.num_samples = len(self.indices)
        self.seed, self.window = seed, window
        _check_not_empty(self.num_samples)
        if window < 1:
            raise ValueError(f"a window must have at least one sample, got {window}")
        first = self.indices.num_below(np.asarray(group_starts, np.int64))
        size = np.diff(first, append=self.num_samples)
        self._first, self._size = first[size > 0], size[size > 0]  # of the groups that are not held out as a whole
        self._groups: _Last[tuple[NDArray[np.int64], NDArray[np.int64]]] = _Last()
        self._windows: _Last[NDArray[np.int64]] = _Last()

    def take(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """Return the (stop - start,) data set indices at the positions ``[start, stop)`` of an epoch."""
        _check_range(start, stop, self.num_samples)
        numbers = range(start // self.window, (stop - 1) // self.window + 1) if stop > start else range(0)
        parts = [self._permuted(epoch, number) for number in numbers]
        skipped = start - start // self.window * self.window
        return np.concatenate([np.zeros(0, np.int64), *parts])[skipped : skipped + stop - start]

    def _permuted(self, epoch: int, number: int) -> NDArray[np.int64]:
        return self._windows((epoch, number), lambda: self._make_window(epoch, number))

    def _make_window(self, epoch: int, number: int) -> NDArray[np.int64]:
        order, ends = self._groups(epoch, lambda: self._permuted_groups(epoch))
        positions = np.arange(number * self.window, min((number + 1) * self.window, self.num_samples))
        place = np.searchsorted(ends, positions, side="right")
        group = order[place]
        within = positions - (ends[place] - self._size[group])
        return self.indices[_generator(self.seed, epoch, 2, number).permutation(self._first[group] + within)]

    def _permuted_groups(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the (G,) groups in the order of an epoch, and the end position of each."""
        order = _generator(self.seed, epoch, 1).permutation(len(self._size))
        return order, np.cumsum(self._size[order])


class _Last(Generic[T]):
    """Cache of the last results by key. Pickling drops its contents."""

    def __init__(self) -> None:
        self.kept: OrderedDict[Hashable, T] = OrderedDict()

    def __call__(self, key: Hashable, make: Callable[[], T]) -> T:
        if key not in self.kept:
            self.kept[key] = make()
            while len(self.kept) > _KEPT:
                self.kept.popitem(last=False)
        return self.kept[key]

    def __getstate__(self) -> dict[str, Any]:
        return {"kept": OrderedDict()}


def _generator(seed: int, epoch: int, *stage: int) -> np.random.Generator:
    if epoch < 0:
        raise ValueError(f"an epoch must be at least 0, got {epoch}")
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed % 2**64, epoch), spawn_key=stage)))


def _check_not_empty(num_samples: int) -> None:
    if num_samples < 1:
        raise ValueError("no training samples: the data set is empty, or all of it is held out")


def _check_range(start: int, stop: int, num_samples: int) -> None:
    if not 0 <= start <= stop <= num_samples:
        raise ValueError(f"positions {start} to {stop} are outside an epoch of {num_samples} samples")
