"""Which samples are held out for validation: a hash of each key decides, so the split survives when samples are added."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from omnimask.data.keys import key_problem
from omnimask.errors import UserError
from omnimask.interfaces import Dataset

logger = logging.getLogger(__name__)


@runtime_checkable
class Whole(Protocol):
    """What a data set may offer whose samples are parts of something: the key of the whole that a sample belongs to."""

    def whole(self, index: int) -> str: ...


def whole_keys(dataset: Dataset) -> Iterator[str]:
    """By sample, the key that decides on which side of a split it lies, and that a table of labels names: the whole's where
    samples are parts, else its own."""
    return (whole_key(dataset, index) for index in range(len(dataset)))


def whole_key(dataset: Dataset, index: int) -> str:
    """One of :func:`whole_keys`."""
    return dataset.whole(index) if isinstance(dataset, Whole) else dataset.key(index)


def held_out(keys: Iterable[str], fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Splits samples by a keyed hash of their keys; samples of one key stay together.

    A sample stays on its side when others are added or removed, except where one side would be empty: with at least two keys and
    ``fraction > 0`` each side has at least one.

    Args:
        keys: of the samples, in the data set's order.
        fraction: expected share that is held out, in [0, 1).
        seed: the run's seed.

    Returns:
        Ascending data set indices of the training and of the validation samples.

    Raises:
        ValueError: ``fraction`` lies outside [0, 1), or a key breaks the rule for keys.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"the share of samples held out must lie in [0, 1), got {fraction}")
    secret = blake2b(str(seed).encode(), digest_size=16).digest()
    scores = np.array([_score(key, secret) for key in keys], np.float64)
    is_held_out = scores < fraction
    is_one = not len(scores) or scores.min() == scores.max()
    if fraction > 0 and not is_one and not is_held_out.any():
        is_held_out = scores == scores.min()
    if len(scores) and is_held_out.all():
        is_held_out = scores < scores.max()
    if fraction > 0 and is_one and len(scores) > 1:
        logger.warning("all %d samples are parts of one, so none is held out for validation; divide it", len(scores))
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


def spread(indices: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many of the indices, from everywhere among them: neighbours are often alike (a folder, a long document)."""
    if len(indices) <= most:
        return indices
    return indices[np.arange(most) * len(indices) // most]


def _score(key: str, secret: bytes) -> float:
    """Uniform in [0, 1)."""
    if (problem := key_problem(key)) is not None:
        raise UserError(f"data: {problem}; give the sample another key")
    digest = blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8, key=secret).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53
