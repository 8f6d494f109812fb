"""Reading of members at known places in shards."""

from __future__ import annotations

import os
import time
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from omnimask_datasets.shards.index import ShardIndex

_OPEN = 64
"""Open shards per process."""
_REOPENED = 60.0
"""Seconds after which a shard is requested again, which marks it as in use in a cache."""
_GAP = 4096
"""Largest gap between two members, in bytes, to read instead of skip."""


class ShardFiles(Protocol):
    """Shards to open: their names, for messages, and their indexes."""

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def indexes(self) -> Sequence[ShardIndex]: ...
    def open(self, number: int) -> int:
        """Return a descriptor of a shard for reading. Raise ``OSError`` or ``ValueError`` if the shard is unavailable."""
        ...


class _OpenedShard(NamedTuple):
    """Open shard: its descriptor, its opening time, and (M, 2) offsets and sizes of its members."""

    descriptor: int
    since: float
    places: NDArray[np.int64]


class MemberReader:
    """Reader of members by number. It keeps the most recent shards open, and is pickled without them.

    Args:
        files: the shards.
        check: whether to compare members with their checksums, if the index has them.
    """

    def __init__(self, files: ShardFiles, *, check: bool) -> None:
        self.files, self.check = files, check
        self._open: OrderedDict[int, _OpenedShard] = OrderedDict()

    def __call__(self, shard: int, first: int, wanted: Sequence[int]) -> list[bytes]:
        """Return the bytes of members of one sample, in a single read if all are wanted and adjacent.

        Args:
            shard: number of the shard.
            first: number of the sample's first member in the shard.
            wanted: numbers of the members in the sample, ascending.

        Raises:
            OSError: the shard is unavailable or cannot be read.
            ValueError: the shard is shorter than in its index, or a member's checksum differs.
        """
        if not wanted:
            return []
        opened = self._opened(shard)
        places = opened.places[first + wanted[0] : first + wanted[-1] + 1].tolist()
        begin, end = places[0][0], sum(places[-1])
        if len(places) == 1:
            found = [self._exactly(shard, opened.descriptor, begin, end - begin)]
        elif len(places) == len(wanted) and 0 < end - begin <= sum(size + _GAP for _, size in places):
            data = self._exactly(shard, opened.descriptor, begin, end - begin)
            found = [data[offset - begin : offset - begin + size] for offset, size in places]
        else:
            found = [self._exactly(shard, opened.descriptor, *places[number - wanted[0]]) for number in wanted]
        if self.check:
            self._compare(shard, [first + number for number in wanted], found)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    def __del__(self) -> None:
        for opened in getattr(self, "_open", {}).values():
            os.close(opened.descriptor)

    def _opened(self, shard: int) -> _OpenedShard:
        opened, now = self._open.get(shard), time.monotonic()
        if opened is not None and now - opened.since <= _REOPENED:
            self._open.move_to_end(shard)
            return opened
        if opened is not None:
            os.close(self._open.pop(shard).descriptor)
        index = self.files.indexes[shard]
        self._open[shard] = opened = _OpenedShard(self.files.open(shard), now, np.stack([index.offsets, index.sizes], axis=1))
        while len(self._open) > _OPEN:
            os.close(self._open.popitem(last=False)[1].descriptor)
        return opened

    def _exactly(self, shard: int, descriptor: int, offset: int, size: int) -> bytes:
        data = os.pread(descriptor, size, offset)
        while len(data) < size:
            more = os.pread(descriptor, size - len(data), offset + len(data))
            if not more:
                name, there = self.files.names[shard], os.fstat(descriptor).st_size
                raise ValueError(
                    f"{name} has {there:,} bytes, but the sample ends at byte {offset + size:,}: the file was truncated"
                )
            data += more
        return data

    def _compare(self, shard: int, numbers: Sequence[int], found: Sequence[bytes]) -> None:
        index = self.files.indexes[shard]
        if not len(index.checksums):
            return
        for number, data in zip(numbers, found, strict=True):
            if zlib.crc32(data) != index.checksums[number]:
                ending, place = index.names[index.endings[number]], f"{self.files.names[shard]}, byte {index.offsets[number]:,}"
                raise ValueError(f"{place}: a member ending in .{ending} is damaged: checksum mismatch with the index")
