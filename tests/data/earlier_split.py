"""The split with a number and a boolean for every sample, as it was before: results must stay those of this definition."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 2.0


def held_out(
    keys: Iterable[str], fraction: float, seed: int, sizes: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
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
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


def _is_near(is_held_out: NDArray[np.bool_], fraction: float) -> bool:
    share = float(is_held_out.mean())
    return 0 < share < 1 and fraction / TOLERANCE <= share <= fraction * TOLERANCE


def _nearest(scores: NDArray[np.float64], sizes: NDArray[np.int64], fraction: float) -> NDArray[np.bool_]:
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
    order = np.argsort(whole, kind="stable")
    first = np.cumsum([0, *sizes[:-1]])
    place = np.empty(len(whole), np.int64)
    place[order] = np.arange(len(whole)) - np.repeat(first, sizes)
    counts = np.rint(fraction * sizes).astype(np.int64)
    if not counts.any():
        counts[int(np.argmax(sizes))] = 1
    counts = np.minimum(counts, np.maximum(sizes - 1, 0))
    starts = (scores * (sizes - counts + 1)).astype(np.int64)
    return (place >= starts[whole]) & (place < (starts + counts)[whole])


def _digest(key: str, secret: bytes) -> int:
    return int.from_bytes(blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8, key=secret).digest(), "little")


def _numbered(digests: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    distinct, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[inverse], (distinct[order] >> np.uint64(11)).astype(np.float64) * 2.0**-53
