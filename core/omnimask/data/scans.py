"""Scan of a whole data set in ranges of samples, by several processes. Every finished range is kept, so a scan can be continued."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from omnimask.cache import keep
from omnimask.data.progress_lines import Paced
from omnimask.data.worker_processes import cores_per_rank, in_processes

logger = logging.getLogger(__name__)

RANGE = 4096
"""Samples in a range: about a second of work for a tokenizer of texts."""
_PATIENCE = 2.0
"""Seconds of work in this process, and of estimated remaining work, from which on other processes pay for their start."""
_CLEARLY = 5
"""Times as much remaining work, from which on they are started after the first range."""
_HELD_BYTES = 1 << 26
"""Bytes of finished ranges to keep in memory, so their files need not be read again."""

Columns: TypeAlias = Mapping[str, NDArray[Any]]
"""Arrays by name, found in one range of samples."""


@dataclass
class RangeScan:
    """Columns of consecutive ranges of samples.

    Args:
        work: maps a range of samples to columns, which are stored without pickling. Picklable where processes are not forked.
        total: number of samples.
        folder: of the finished ranges, one file each, complete or absent. Processes that share the folder share the work.
        doing: name of the scan in messages.
        size: samples in a range.
        share: (I, N) to scan only every N-th range, beginning with the I-th, counted from 0.
        keeps: whether to write a file even if there is only one range.
        processes: maximum number of worker processes; 1 for data sets that are read in order.
        joined: folder in which the columns of all ranges are joined. Once it exists, another process has made it, and no range is
            missing.
    """

    work: Callable[[range], Columns]
    total: int
    folder: Path
    doing: str
    size: int = 0
    share: tuple[int, int] = (0, 1)
    keeps: bool = False
    processes: int = sys.maxsize
    joined: Path | None = None
    _in_memory: dict[int, Columns] = field(default_factory=dict[int, Columns])
    _held: int = 0
    _keeps: bool = field(init=False)

    def __post_init__(self) -> None:
        self.size = self.size or RANGE
        self._keeps = self.keeps or self.num_ranges > 1

    def run(self) -> None:
        """Scan the ranges that are not complete: in this process, and in several if much remains.

        Raises:
            RunStopped: a worker process died.
        """
        missing = [number for number in self._numbers() if not self.is_done(number)]
        if 0 < len(missing) < self.num_ranges:
            logger.info("%s: %d of %d ranges are complete", self.doing, self.num_ranges - len(missing), self.num_ranges)
        tell, begun = Paced(len(missing) * self.size, self.doing), time.monotonic()
        remaining = (number for number in missing if not self.is_done(number))
        for done, number in enumerate(remaining, 1):
            self._take(number, self._scanned(number))
            tell(done * self.size)
            spent, left = time.monotonic() - begun, len(missing) - done
            processes = min(cores_per_rank(), left, self.processes)
            remains = spent / done * left
            if processes > 1 and remains > _PATIENCE and (spent > _PATIENCE or remains > _CLEARLY * _PATIENCE):
                logger.info("%s: %d of %d ranges are left for %d processes", self.doing, left, self.num_ranges, processes)
                for more, (other, found) in enumerate(in_processes(self._scanned, remaining, processes, self.doing), done + 1):
                    self._take(other, found)
                    tell(more * self.size)

    def __iter__(self) -> Iterator[Columns]:
        """Yield the columns of every range, in order. A range that is missing by now is scanned again."""
        for number in range(self.num_ranges):
            found = self._in_memory.get(number)
            found = self._loaded(number) if found is None else found
            yield self.work(self._range(number)) if found is None else found

    def remove(self) -> None:
        """Remove the finished ranges."""
        self._in_memory.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def num_ranges(self) -> int:
        return -(-self.total // self.size)

    def _numbers(self) -> list[int]:
        """Return the numbers of the ranges of this share. Each of several ranks begins at another place."""
        rank, world = (int(os.environ.get(name, default)) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
        numbers = range(self.share[0], self.num_ranges, self.share[1])
        first = len(numbers) * rank // world
        return [*numbers[first:], *numbers[:first]]

    def _range(self, number: int) -> range:
        return range(number * self.size, min((number + 1) * self.size, self.total))

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06d}.npz"

    def is_done(self, number: int) -> bool:
        """Return whether a range is complete."""
        return number in self._in_memory or self._file(number).exists() or (self.joined is not None and self.joined.exists())

    def _take(self, number: int, scanned: tuple[Columns, bool]) -> None:
        """Keep the columns of a range in memory if they are not in a file, or while there is room."""
        found, is_kept = scanned
        size = sum(column.nbytes for column in found.values())
        if not is_kept or self._held + size <= _HELD_BYTES:
            self._in_memory[number] = found
            self._held += size

    def _scanned(self, number: int) -> tuple[Columns, bool]:
        """Scan one range and write its file. Return the columns, and whether they are in a file."""
        found = self.work(self._range(number))
        self._keeps = self._keeps and keep(
            self._file(number), lambda stream: np.savez(stream, **cast(Any, found)), f"results of {self.doing}"
        )
        return found, self._keeps

    def _loaded(self, number: int) -> Columns | None:
        file = self._file(number)
        try:
            with np.load(file, allow_pickle=False) as found:
                return {name: found[name] for name in found.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            logger.warning("%s: %s cannot be read (%s) and is scanned again", self.doing, file, error)
            return None
