"""Split into training and held-out samples by a hash of each key, which is stable when samples are added."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from omnimask.data.sample_keys import key_problem
from omnimask.errors import UserError
from omnimask.interfaces import Dataset

logger = logging.getLogger(__name__)

TOLERANCE = 2.0
"""Maximum ratio, in either direction, between the actual and the requested held-out share."""


@runtime_checkable
class Whole(Protocol):
    """Optional interface of data sets whose samples are parts: returns the key of the whole."""

    def whole(self, index: int) -> str: ...


@runtime_checkable
class KnowsWholes(Protocol):
    """Optional interface of data sets whose samples are the consecutive parts of wholes."""

    def wholes(self) -> tuple[Iterator[str], NDArray[np.int64]]:
        """Return the keys of the W wholes that have parts, and the (W,) number of parts of each."""
        ...


def split_samples(dataset: Dataset, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the training and the held-out samples of a data set; see :func:`held_out`."""
    if isinstance(dataset, KnowsWholes):
        keys, sizes = dataset.wholes()
        return held_out(keys, fraction, seed, sizes)
    return held_out(whole_keys(dataset), fraction, seed)


def whole_keys(dataset: Dataset) -> Iterator[str]:
    """Yield the key of each sample for splits and label tables: the key of the whole for parts, else its own.

    Raises:
        UserError: all samples have one key, though none is a part.
    """
    first, is_one = "", True
    for index in range(len(dataset)):
        key = whole_key(dataset, index)
        is_one = is_one and (not index or key == first)
        first = first if index else key
        yield key
    if is_one and len(dataset) > 1 and not isinstance(dataset, Whole):
        raise UserError(f"data: all {len(dataset)} samples have the key {first!r}; keys must be unique")


def whole_key(dataset: Dataset, index: int) -> str:
    """Return the key of one sample; see :func:`whole_keys`."""
    return dataset.whole(index) if isinstance(dataset, Whole) else dataset.key(index)


def held_out(
    keys: Iterable[str], fraction: float, seed: int, sizes: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
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
    secret = blake2b(str(seed).encode(), digest_size=16).digest()
    digests = np.fromiter((_digest(key, secret) for key in keys), np.uint64)
    number, scores = _numbered(digests)
    whole = number if sizes is None else np.repeat(number, sizes)
    if fraction == 0 or len(whole) < 2:
        return np.arange(len(whole)), np.zeros(0, np.int64)
    sizes = np.bincount(whole)
    is_held_out = (scores < fraction)[whole]
    if not _is_near(is_held_out, fraction):
        is_held_out = _nearest(scores, sizes, fraction)[whole]
    if not _is_near(is_held_out, fraction) and sizes.max() > 1:
        is_held_out = _stretches(scores, sizes, whole, fraction)
        logger.info("whole samples cannot give the requested held-out share, so a contiguous range of parts of each is held out")
    _log_share(is_held_out, whole, fraction)
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


def _is_near(is_held_out: NDArray[np.bool_], fraction: float) -> bool:
    """Return whether both sides have samples, and the held-out share is within the bounds of the fraction."""
    share = float(is_held_out.mean())
    return 0 < share < 1 and fraction / TOLERANCE <= share <= fraction * TOLERANCE


def _nearest(scores: NDArray[np.float64], sizes: NDArray[np.int64], fraction: float) -> NDArray[np.bool_]:
    """Return the held-out wholes as booleans (wholes,).

    In the order of their scores, each whole is held out if this brings the number of samples closer to the target; at least one,
    and not all.
    """
    target, held = fraction * int(sizes.sum()), 0
    is_held_out = np.zeros(len(sizes), np.bool_)
    for number in np.argsort(scores, kind="stable").tolist():
        size = int(sizes[number])
        if abs(held + size - target) < abs(held - target):
            is_held_out[number], held = True, held + size
    if not held:
        is_held_out[int(np.lexsort((scores, sizes))[0])] = True
    if is_held_out.all():
        is_held_out[int(np.argmax(scores))] = False
    return is_held_out


def _stretches(
    scores: NDArray[np.float64], sizes: NDArray[np.int64], whole: NDArray[np.int64], fraction: float
) -> NDArray[np.bool_]:
    """Return the held-out samples as booleans (samples,): a range of consecutive samples of every whole.

    The length is the whole's share, the start depends on its score.
    """
    order = np.argsort(whole, kind="stable")
    first = np.cumsum([0, *sizes[:-1]])
    # (samples,) index of each sample within its whole
    place = np.empty(len(whole), np.int64)
    place[order] = np.arange(len(whole)) - np.repeat(first, sizes)
    counts = np.rint(fraction * sizes).astype(np.int64)
    if not counts.any():
        counts[int(np.argmax(sizes))] = 1
    counts = np.minimum(counts, np.maximum(sizes - 1, 0))
    starts = (scores * (sizes - counts + 1)).astype(np.int64)
    return (place >= starts[whole]) & (place < (starts + counts)[whole])


def _log_share(is_held_out: NDArray[np.bool_], whole: NDArray[np.int64], fraction: float) -> None:
    held, total = int(is_held_out.sum()), len(whole)
    if total > int(whole[-1]) + 1 or not _is_near(is_held_out, fraction):
        logger.info(
            "held out for validation: %d of %d samples, %.1f %% (requested: %.1f %%), of %d of %d whole samples",
            held, total, 100 * held / total, 100 * fraction, len(np.unique(whole[is_held_out])), int(whole.max()) + 1,
        )  # fmt: skip


def spread(indices: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return at most ``most`` of the indices, evenly spaced: neighbours are often alike (a folder, a long document)."""
    if len(indices) <= most:
        return indices
    return indices[np.arange(most) * len(indices) // most]


def _digest(key: str, secret: bytes) -> int:
    if (problem := key_problem(key)) is not None:
        raise UserError(f"data: {problem}; change the key of the sample")
    return int.from_bytes(blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8, key=secret).digest(), "little")


def _numbered(digests: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Number equal digests alike, by first appearance. Return the numbers, and the score of each number, uniform in [0, 1)."""
    distinct, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[inverse], (distinct[order] >> np.uint64(11)).astype(np.float64) * 2.0**-53
