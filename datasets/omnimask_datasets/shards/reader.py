"""Members of shards, read at known places."""

from __future__ import annotations

import os
import time
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Protocol

from omnimask_datasets.shards.index import ShardIndex

_OPEN = 64
"""Shards that a process keeps open."""
_REOPENED = 60.0
"""Seconds after which a shard is asked for again, so that a cache knows that it is in use."""
_GAP = 4096
"""Bytes between two members that are rather read than skipped."""


class ShardFiles(Protocol):
    """Shards that can be opened: their names, for messages, and their indexes."""

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def indexes(self) -> Sequence[ShardIndex]: ...
    def open(self, number: int) -> int:
        """A descriptor of a shard for reading. Raises ``OSError`` or ``ValueError`` if it cannot be had."""
        ...


class Reader:
    """Reads members by their numbers; keeps the last shards open, and is pickled without them.

    Args:
        files: the shards.
        check: whether members are compared with their checksums, where the index has them.
    """

    def __init__(self, files: ShardFiles, *, check: bool) -> None:
        self.files, self.check = files, check
        self._open: OrderedDict[int, tuple[int, float]] = OrderedDict()

    def __call__(self, shard: int, numbers: Sequence[int]) -> list[bytes]:
        """The bytes of members of one sample, in ascending order; one read where they lie together.

        Raises:
            OSError: the shard cannot be had or read.
            ValueError: it is shorter than its index says, or a member's checksum is another one.
        """
        index, name = self.files.indexes[shard], self.files.names[shard]
        offsets, sizes = index.offsets[numbers].tolist(), index.sizes[numbers].tolist()
        descriptor, found = self._descriptor(shard), list[bytes]()
        for start, stop in _together(offsets, sizes):
            begin, end = offsets[start], offsets[stop - 1] + sizes[stop - 1]
            data = _exactly(descriptor, begin, end - begin, name)
            if stop - start == 1:
                found.append(data)
            else:
                found += [data[offset - begin : offset - begin + sizes[n]] for n, offset in enumerate(offsets[start:stop], start)]
        if self.check and len(index.checksums):
            for number, data in zip(numbers, found, strict=True):
                if zlib.crc32(data) != index.checksums[number]:
                    ending = index.names[index.endings[number]]
                    where = f"{name}, byte {index.offsets[number]:,}"
                    raise ValueError(f"{where}: a member ending in .{ending} is damaged: its checksum is not that of the index")
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    def __del__(self) -> None:
        for descriptor, _ in getattr(self, "_open", {}).values():
            os.close(descriptor)

    def _descriptor(self, shard: int) -> int:
        now = time.monotonic()
        if shard in self._open and now - self._open[shard][1] > _REOPENED:
            os.close(self._open.pop(shard)[0])
        if shard not in self._open:
            self._open[shard] = self.files.open(shard), now
            while len(self._open) > _OPEN:
                os.close(self._open.popitem(last=False)[1][0])
        self._open.move_to_end(shard)
        return self._open[shard][0]


def _together(offsets: Sequence[int], sizes: Sequence[int]) -> list[tuple[int, int]]:
    """(first, last + 1) of runs of members that lie next to each other."""
    runs: list[tuple[int, int]] = []
    for number, offset in enumerate(offsets):
        if runs and 0 <= offset - offsets[number - 1] - sizes[number - 1] <= _GAP:
            runs[-1] = runs[-1][0], number + 1
        else:
            runs.append((number, number + 1))
    return runs


def _exactly(descriptor: int, offset: int, size: int, name: str) -> bytes:
    data = os.pread(descriptor, size, offset)
    while len(data) < size:
        more = os.pread(descriptor, size - len(data), offset + len(data))
        if not more:
            there = os.fstat(descriptor).st_size
            raise ValueError(f"{name} has {there:,} bytes, and the sample ends at byte {offset + size:,}: the file was cut off")
        data += more
    return data
