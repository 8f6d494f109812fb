"""Keys with a low score among very many: found by several processes, once for a data set, seed and fraction."""

from __future__ import annotations

import fcntl
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from omnimask.cache import cache_folder
from omnimask.data.column_files import compact, join_columns, read_columns
from omnimask.data.key_scores import key_digests, scores_of
from omnimask.data.scans import Columns, RangeScan

logger = logging.getLogger(__name__)

RANGE = 1 << 18
"""Keys to hash at once: less than a second of work. No more keys than these are hashed at every start, without a cache."""
_FORMAT = 1
_DOING = "splitting samples"


@dataclass(frozen=True)
class NumberedKeys:
    """Keys of many samples or wholes, by number. Picklable where processes are not forked.

    ``key`` returns a key; ``present`` returns the numbers in ``[start, stop)`` that have one; ``total`` is the number of numbers.
    ``identity`` is a text that differs whenever keys, or the numbers that have one, may have changed.
    """

    key: Callable[[int], str]
    present: Callable[[int, int], NDArray[np.int64]]
    total: int
    identity: str


def low_scores(keys: NumberedKeys, fraction: float, seed: int, *, processes: int, cache: Path | None = None) -> NDArray[np.int64]:
    """Return the ascending numbers of the keys whose score is less than the fraction.

    Args:
        keys: to hash.
        fraction: limit of the scores.
        seed: the run's seed.
        processes: maximum number of worker processes.
        cache: folder of earlier results; None means ``$OMNIMASK_CACHE``, else ``~/.cache/omnimask``.

    Raises:
        UserError: a key breaks the rule for keys.
        RunStopped: a worker process died.
    """
    name = blake2b(repr((_FORMAT, keys.identity, keys.total, fraction, seed)).encode(), digest_size=16).hexdigest()
    folder = (cache or cache_folder()) / "splits" / name
    columns = read_columns(folder, "splits")
    if columns is None:
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
        logger.info("splitting %d samples by their keys; later runs reuse the split", keys.total)
        work = partial(_low_of_range, keys, fraction, seed)
        ranges = folder.with_name(f"{name}.ranges")
        scan = RangeScan(work, keys.total, ranges, _DOING, RANGE, processes=processes, joined=folder)
        scan.run()
        with _waiting(folder.with_name(f"{name}.lock")):  # ranks that share the cache finish together; one joins
            columns = read_columns(folder, "splits")
            if columns is None:
                columns = join_columns(lambda: iter(scan), folder, "splits")
                scan.remove()
    return columns["low"].astype(np.int64)


@contextmanager
def _waiting(lock: Path) -> Iterator[None]:
    """Let one process at a time into the ``with`` block, if the folder of the lock can be written."""
    with ExitStack() as stack:
        with suppress(OSError):
            fcntl.flock(stack.enter_context(lock.open("ab")), fcntl.LOCK_EX)
        yield


def _low_of_range(keys: NumberedKeys, fraction: float, seed: int, numbers: range) -> Columns:
    there = keys.present(numbers.start, numbers.stop)
    is_low = scores_of(key_digests(map(keys.key, there.tolist()), seed)) < fraction
    return {"low": compact(there[is_low])}
