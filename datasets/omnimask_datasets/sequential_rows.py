"""Rows of forward-only shards. A shard is read again from its beginning if necessary.

N rows in S shards.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from omnimask_datasets.arrow_values import row_of

logger = logging.getLogger(f"omnimask.{__name__}")

Tables = Callable[[int], Iterator[pa.Table]]
"""Returns the tables of a shard, in order from its beginning."""


_MANY, _FEW = 10, 50
"""Warning thresholds: number of restarted shards, and requested rows per restart."""


class ForwardRows:
    """Rows by number, from shards read in order. The most recent rows stay in memory.

    A later row is reached by reading on; an earlier, dropped one by reading the shard from its beginning. Access within
    windows of ``kept`` rows thus costs a single pass. A process that begins in the middle of a shard reads the rows before it.

    Args:
        tables: reads a shard; picklable.
        lengths: (S,) rows of every shard.
        kept: minimum number of rows in memory.
    """

    def __init__(self, tables: Tables, lengths: Sequence[int], kept: int) -> None:
        self.tables, self.kept = tables, kept
        self.starts = np.cumsum([0, *lengths])
        self.num_asked = self.num_restarts = 0
        self._has_warned = False
        self._shards: OrderedDict[int, _Shard] = OrderedDict()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a row's values by column.

        Raises:
            ValueError: the shard ended before the row.
            OSError: the row cannot be read.
        """
        self.num_asked += 1
        number = int(np.searchsorted(self.starts, index, side="right")) - 1
        row = index - int(self.starts[number])
        shard = self._shards.get(number)
        if shard is None or row < shard.first:
            self.num_restarts += shard is not None
            self._warn()
            shard = self._shards[number] = _Shard(self.tables(number))
        self._shards.move_to_end(number)
        try:
            found = shard.row(row, self.kept)
        except BaseException:
            del self._shards[number]  # its iterator is of no use any more
            raise
        while len(self._shards) > 1 and sum(shard.num_kept for shard in self._shards.values()) > 2 * self.kept:
            self._shards.popitem(last=False)
        return found

    def _warn(self) -> None:
        """Warn once if shards are restarted repeatedly. Restarts at the beginning of an epoch are expected."""
        if self._has_warned or self.num_restarts < _MANY or self.num_asked > _FEW * self.num_restarts:
            return
        self._has_warned = True
        logger.warning(
            "a shard of a stream was read again from the start %d times, for %d rows that were no longer in the "
            "buffer of %d; use smaller windows or a larger buffer",
            self.num_restarts,
            self.num_asked,
            self.kept,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shards": OrderedDict()}


class _Shard:
    """Rows ``[first, first + num_kept)`` of one shard, and an iterator over the rest."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._tables = tables
        self._kept: deque[pa.Table] = deque()
        self.first, self.num_kept = 0, 0

    def row(self, row: int, kept: int) -> dict[str, Any]:
        while row >= self.first + self.num_kept:
            self._advance(kept)
        place = row - self.first
        for table in self._kept:
            if place < table.num_rows:
                return row_of(table, place)
            place -= table.num_rows
        raise AssertionError("the row is not in the buffer")

    def _advance(self, kept: int) -> None:
        table = next(self._tables, None)
        if table is None:
            raise ValueError(f"the shard ended after {self.first + self.num_kept} rows, fewer than when it was counted")
        self._kept.append(table)
        self.num_kept += table.num_rows
        while self.num_kept - self._kept[0].num_rows >= kept:
            passed = self._kept.popleft().num_rows
            self.first, self.num_kept = self.first + passed, self.num_kept - passed
