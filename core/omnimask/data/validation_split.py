"""Split into training and held-out samples by a hash of each key, which is stable when samples are added.

N samples, K keys (of samples or of wholes), D distinct keys.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from omnimask.cache import data_key
from omnimask.data import low_scores
from omnimask.data.key_scores import key_digests, scores_of
from omnimask.data.low_scores import NumberedKeys
from omnimask.data.order import reading_processes
from omnimask.data.training_indices import Indices, TrainingIndices
from omnimask.data.whole_parts import KnowsWholes, WholeParts
from omnimask.errors import UserError
from omnimask.interfaces import Dataset
from omnimask.interfaces.ragged import ranges

logger = logging.getLogger(__name__)

TOLERANCE = 2.0
"""Maximum ratio, in either direction, between the actual and the requested held-out share."""
_BLOCK = 1 << 16
"""Wholes to compare with the target at once."""


@runtime_checkable
class Whole(Protocol):
    """Optional interface of data sets whose samples are parts: returns the key of the whole."""

    def whole(self, index: int) -> str: ...


def split_samples(
    dataset: Dataset, fraction: float, seed: int, cache: Path | None = None
) -> tuple[TrainingIndices, NDArray[np.int64]]:
    """Return the training and the held-out samples of a data set; see :func:`held_out`.

    More than 262,144 keys are hashed by several processes, once for a data set, seed and fraction.

    Args:
        dataset: to split.
        fraction, seed: see :func:`held_out`.
        cache: folder of earlier splits; None means ``$OMNIMASK_CACHE``, else ``~/.cache/omnimask``.
    """
    if isinstance(dataset, KnowsWholes):
        wholes = dataset.wholes()
        found = _held_wholes(dataset, wholes, fraction, seed, cache)
        if found is None:
            there = wholes.present(0, len(wholes))
            sizes = np.diff(wholes.first.astype(np.int64))[there]
            return held_out(map(wholes.key, there.tolist()), fraction, seed, sizes)
    else:
        found = None if isinstance(dataset, Whole) else _held_keys(dataset, fraction, seed, cache)
        if found is None:
            return held_out(whole_keys(dataset), fraction, seed)
    return TrainingIndices(len(dataset), found), found


def _held_keys(dataset: Dataset, fraction: float, seed: int, cache: Path | None) -> NDArray[np.int64] | None:
    """Return the held-out samples of a large data set; None if low scores alone do not decide."""
    total = len(dataset)
    if total <= low_scores.RANGE or not 0 < fraction < 1:
        return None
    _check_distinct(dataset)
    keys = NumberedKeys(dataset.key, np.arange, total, data_key(dataset))
    low = low_scores.low_scores(keys, fraction, seed, processes=reading_processes(dataset), cache=cache)
    return low if _is_near(len(low), total, fraction) else None


def _held_wholes(dataset: Dataset, wholes: WholeParts, fraction: float, seed: int, cache: Path | None) -> NDArray[np.int64] | None:
    """Return the held-out samples of a data set with many wholes; None if low scores alone do not decide."""
    if len(wholes) <= low_scores.RANGE or not 0 < fraction < 1:
        return None
    num_wholes, digest = wholes.counted()
    keys = NumberedKeys(wholes.key, wholes.present, len(wholes), repr((wholes.identity(), digest)))
    low = low_scores.low_scores(keys, fraction, seed, processes=reading_processes(dataset), cache=cache)
    start = wholes.first[low].astype(np.int64)
    sizes = wholes.first[low + 1].astype(np.int64) - start
    num_held = int(sizes.sum())
    if not _is_near(num_held, len(dataset), fraction):
        return None
    _log_share(num_held, len(dataset), len(low), num_wholes, fraction)
    return ranges(start, sizes)


def whole_keys(dataset: Dataset) -> Iterator[str]:
    """Yield the key of each sample for splits and label tables: the key of the whole for parts, else its own.

    Raises:
        UserError: all samples have one key, though none is a part.
    """
    if not isinstance(dataset, Whole):
        _check_distinct(dataset)
    for index in range(len(dataset)):
        yield whole_key(dataset, index)


def whole_key(dataset: Dataset, index: int) -> str:
    """Return the key of one sample; see :func:`whole_keys`."""
    return dataset.whole(index) if isinstance(dataset, Whole) else dataset.key(index)


def _check_distinct(dataset: Dataset) -> None:
    total, first = len(dataset), dataset.key(0) if len(dataset) else ""
    if total > 1 and all(dataset.key(index) == first for index in range(1, total)):
        raise UserError(f"data: all {total} samples have the key {first!r}; keys must be unique")


def held_out(
    keys: Iterable[str], fraction: float, seed: int, sizes: NDArray[np.int64] | None = None
) -> tuple[TrainingIndices, NDArray[np.int64]]:
    """Split samples by a keyed hash of their keys. Samples with the same key (the parts of a whole) stay together.

    A whole stays on its side when others are added or removed, as long as the hash holds out between half and twice the
    ``fraction``. Few or large wholes can violate these bounds. In that case wholes with low hashes are held out, as close to the
    fraction as possible. If this is also outside the bounds, every whole is cut, and a range of consecutive samples of each is held
    out. With at least two samples and ``fraction > 0`` each side has at least one.

    Args:
        keys: of the samples, in the data set's order.
        fraction: held-out share, in [0, 1).
        seed: the run's seed.
        sizes: number of consecutive samples of each key, at least 1; None: one.

    Returns:
        Ascending data set indices of the training and of the validation samples.

    Raises:
        ValueError: ``fraction`` lies outside [0, 1), or a key breaks the rule for keys.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"the share of held-out samples must be in [0, 1), got {fraction}")
    number, scores = _numbered(key_digests(keys, seed))
    sizes = np.ones(len(number), np.int64) if sizes is None else sizes
    total = int(sizes.sum())
    if fraction == 0 or total < 2:
        return TrainingIndices(total, np.zeros(0, np.int64)), np.zeros(0, np.int64)
    # (D,) samples of each distinct key; sums below 2**53 are exact
    whole_sizes = np.bincount(number, weights=sizes).astype(np.int64)
    is_held_out = scores < fraction
    if not _is_near(int(whole_sizes[is_held_out].sum()), total, fraction):
        is_held_out = _nearest(scores, whole_sizes, fraction)
    ends = np.cumsum(sizes)
    if not _is_near(int(whole_sizes[is_held_out].sum()), total, fraction) and whole_sizes.max() > 1:
        start, length = _stretches(scores, sizes, whole_sizes, number, fraction)
        logger.info("whole samples cannot give the requested held-out share, so a contiguous range of parts of each is held out")
    else:
        start, length = np.zeros_like(sizes), np.where(is_held_out[number], sizes, 0)
    held = ranges(ends - sizes + start, length)
    _log_share(len(held), total, len(np.unique(number[length > 0])), len(scores), fraction)
    return TrainingIndices(total, held), held


def _is_near(num_held_out: int, total: int, fraction: float) -> bool:
    """Return whether both sides have samples, and the held-out share is within the bounds of the fraction."""
    share = num_held_out / total
    return 0 < share < 1 and fraction / TOLERANCE <= share <= fraction * TOLERANCE


def _nearest(scores: NDArray[np.float64], sizes: NDArray[np.int64], fraction: float) -> NDArray[np.bool_]:
    """Return the held-out wholes as booleans (D,).

    In the order of their scores, each whole is held out if this brings the number of samples closer to the target; at least one,
    and not all.
    """
    target, held = fraction * int(sizes.sum()), 0
    is_held_out = np.zeros(len(sizes), np.bool_)
    order = np.argsort(scores, kind="stable")
    for block in (order[start : start + _BLOCK] for start in range(0, len(order), _BLOCK)):
        # Those too large now are too large later: what is missing only shrinks.
        closer = np.abs(held + sizes[block] - target) < abs(held - target)
        for number in block[closer].tolist():
            size = int(sizes[number])
            if abs(held + size - target) < abs(held - target):
                is_held_out[number], held = True, held + size
    if not held:
        is_held_out[int(np.lexsort((scores, sizes))[0])] = True
    if is_held_out.all():
        is_held_out[int(np.argmax(scores))] = False
    return is_held_out


def _stretches(
    scores: NDArray[np.float64],
    sizes: NDArray[np.int64],
    whole_sizes: NDArray[np.int64],
    number: NDArray[np.int64],
    fraction: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the range of held-out samples of each key (K,): the first one, and their number. Every whole gives one range.

    The length is the whole's share, the start depends on its score.
    """
    order = np.argsort(number, kind="stable")
    # (K,) samples of the same whole before those of each key
    before = np.empty(len(number), np.int64)
    before[order] = np.cumsum(sizes[order]) - sizes[order] - (np.cumsum(whole_sizes) - whole_sizes)[number[order]]
    counts = np.rint(fraction * whole_sizes).astype(np.int64)
    if not counts.any():
        counts[int(np.argmax(whole_sizes))] = 1
    counts = np.minimum(counts, np.maximum(whole_sizes - 1, 0))
    starts = (scores * (whole_sizes - counts + 1)).astype(np.int64)
    start = np.clip(starts[number] - before, 0, sizes)
    stop = np.clip((starts + counts)[number] - before, 0, sizes)
    return start, stop - start


def _log_share(num_held_out: int, total: int, held_wholes: int, num_wholes: int, fraction: float) -> None:
    if total > num_wholes or not _is_near(num_held_out, total, fraction):
        logger.info(
            "held out for validation: %d of %d samples, %.1f %% (requested: %.1f %%), of %d of %d whole samples",
            num_held_out, total, 100 * num_held_out / total, 100 * fraction, held_wholes, num_wholes,
        )  # fmt: skip


def spread(indices: Indices, most: int) -> NDArray[np.int64]:
    """Return at most ``most`` of the indices, evenly spaced: neighbours are often alike (a folder, a long document)."""
    if len(indices) <= most:
        return np.asarray(indices)
    return indices[np.arange(most) * len(indices) // most]


def _numbered(digests: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Number equal digests alike, by first appearance. Return the numbers (K,), and the score of each number (D,)."""
    distinct, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[inverse], scores_of(distinct[order])
