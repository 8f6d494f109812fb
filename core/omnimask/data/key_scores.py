"""Scores of keys, which split samples: hashes keyed by a run's seed. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from omnimask.data.sample_keys import key_problem
from omnimask.errors import UserError

_BYTES = 8


def key_digests(keys: Iterable[str], seed: int) -> NDArray[np.uint64]:
    """Return the hashes of K keys, (K,).

    Args:
        keys: to hash.
        seed: the run's seed.

    Raises:
        UserError: a key breaks the rule for keys.
    """
    secret = blake2b(str(seed).encode(), digest_size=16).digest()
    return np.frombuffer(b"".join(_hashed(keys, secret)), "<u8").astype(np.uint64, copy=False)


def scores_of(digests: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return a number in [0, 1) for each hash, uniform over keys."""
    return (digests >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _hashed(keys: Iterable[str], secret: bytes) -> Iterator[bytes]:
    start = blake2b(digest_size=_BYTES, key=secret)  # copies of the keyed state save half of the work
    for key in keys:
        if (problem := key_problem(key)) is not None:
            raise UserError(f"data: {problem}; change the key of the sample")
        digest = start.copy()
        digest.update(key.encode("utf-8", "surrogateescape"))
        yield digest.digest()
