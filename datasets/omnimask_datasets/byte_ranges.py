"""Samples as byte ranges of files. One pass finds the ranges and caches them; samples are read individually. N ranges."""

from __future__ import annotations

import io
import itertools
import json
import logging
import time
import zipfile
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from omnimask.cache import cache_folder, keep
from omnimask_datasets.sources import Source, all_unpacked, copy_ahead

logger = logging.getLogger(f"omnimask.{__name__}")

Scan: TypeAlias = Callable[[Iterable[bytes]], Iterator[tuple[int, int, int]]]
"""Maps the lines of a file, line ends included, to (start, stop, line): byte offsets, and the 1-based number of the first line."""
BlockScan: TypeAlias = Callable[[Iterable[bytes]], Iterator[NDArray[np.int64]]]
"""Maps blocks of whole lines of a file to the same as arrays (n, 3)."""

_FORMAT = 2
_MARKS = (b"\xff\xfe", b"\xfe\xff")
UTF8_MARK = b"\xef\xbb\xbf"
_LINE_END, _RETURN = b"\n\r"
_MAY_BE_BLANK = np.array([bytes([value]).isspace() or value == UTF8_MARK[0] for value in range(256)])
"""By the first byte of a line."""
_LARGEST = 2**32 - 1
_BLOCK = 1 << 22
"""Bytes of a file to divide at once, up to the end of a line."""
_AHEAD = 1 << 20
"""Bytes of a file to read at once for neighboring ranges."""
_SECONDS = 10.0
"""Seconds between two progress messages."""


class BadLine(ValueError):
    """Line, counted from 1, that makes its whole file unusable."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


@dataclass(frozen=True)
class Ranges:
    """Byte ranges of the files ``sources`` (F), in order.

    Attributes:
        first: (F + 1,) number of each file's first range.
        start, size, line: (N,) first byte, number of bytes and first line of each range.
        digest: digest of the files' names and contents and of the scheme that divided them.
    """

    sources: tuple[Source, ...]
    first: NDArray[np.int64]
    start: NDArray[np.int64]
    size: NDArray[np.uint32]
    line: NDArray[np.uint32]
    digest: str

    def __len__(self) -> int:
        return len(self.start)

    def source(self, index: int) -> Source:
        """Return the file of a range."""
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} samples")
        return self.sources[self._number(index)]

    def _number(self, index: int) -> int:
        """Return the number of the file of a range."""
        return bisect_right(self._bounds, index) - 1

    @cached_property
    def _bounds(self) -> list[int]:
        return self.first.tolist()

    def name(self, index: int) -> str:
        """Return ``file:line``."""
        return f"{self.source(index).name}:{self.line[index]}"

    def read(self, index: int) -> bytes:
        """Return the bytes of one range.

        Raises:
            OSError: the file cannot be read.
            ValueError: the file's size has changed.
        """
        source = self.source(index)
        with source.open(buffering=0) as stream:
            return _read_at(stream, source, int(self.start[index]), int(self.size[index]))

    def read_many(self, indices: Sequence[int]) -> Iterator[bytes | Exception]:
        """Yield the bytes of each range, or the exception of :meth:`read`. About 1 MiB of neighboring ranges is read at once."""
        for number, group in itertools.groupby(indices, self._number):
            source = self.sources[number]
            try:
                stream = source.open(buffering=0)
            except (OSError, ValueError) as error:
                yield from (error for _ in group)
                continue
            with stream:
                for places in self._neighbors(group):
                    yield from _read_places(stream, source, places)

    def _neighbors(self, indices: Iterable[int]) -> Iterator[list[tuple[int, int]]]:
        """Yield (start, stop) of ranges of one file to read at once, which ascend."""
        places: list[tuple[int, int]] = []
        for index in indices:
            start = int(self.start[index])
            place = start, start + int(self.size[index])
            if places and (start < places[-1][1] or place[1] - places[0][0] > _AHEAD):
                yield places
                places = []
            places.append(place)
        if places:
            yield places


def by_line(blocks: Iterable[bytes]) -> Iterator[NDArray[np.int64]]:
    """Yield every nonblank line, without its line end."""
    begin, number = 0, 1
    for block in blocks:
        values = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(values == _LINE_END) + 1
        if not block.endswith(b"\n"):
            ends = np.append(ends, len(block))
        starts = np.concatenate([[0], ends[:-1]])
        stops = ends - (values[ends - 1] == _LINE_END)
        for line in np.flatnonzero((stops > starts) & (values[stops - 1] == _RETURN)).tolist():
            stops[line] = starts[line] + len(block[starts[line] : stops[line]].rstrip(b"\r\n"))
        is_blank = starts == stops
        for line in np.flatnonzero(~is_blank & _MAY_BE_BLANK[values[starts]]).tolist():
            is_blank[line] = _is_blank(block[starts[line] : stops[line]])
        lines = np.stack([starts + begin, stops + begin, number + np.arange(len(ends))], axis=1)
        yield lines[~is_blank]
        begin, number = begin + len(block), number + len(ends)


def line_by_line(scan: Scan) -> BlockScan:
    """Return a scan of blocks of lines."""

    def scanned(blocks: Iterable[bytes]) -> Iterator[NDArray[np.int64]]:
        # Only "\n" ends a line. No list of tuples in between.
        places = scan(itertools.chain.from_iterable(map(io.BytesIO, blocks)))
        yield np.fromiter(itertools.chain.from_iterable(places), np.int64).reshape(-1, 3)

    return scanned


def by_blank_line(lines: Iterable[bytes]) -> Iterator[tuple[int, int, int]]:
    """Yield the runs of lines between blank lines."""
    start = stop = begun = place = 0
    for number, line in enumerate(lines, 1):
        if not _is_blank(line):
            if not begun:
                start, begun = place, number
            stop = place + len(line.rstrip(b"\r\n"))
        elif begun:
            yield start, stop, begun
            begun = 0
        place += len(line)
    if begun:
        yield start, stop, begun


def find_ranges(sources: Sequence[Source], scan: BlockScan, scheme: str) -> Ranges:
    """Return the ranges of files, from the cache if the files are unchanged.

    Args:
        sources: files, which may be packed.
        scan: divides one file.
        scheme: name of ``scan``'s behavior, part of the cache key.

    Raises:
        ValueError: a file cannot be read, is UTF-16, cannot be divided, or has a range of 4 GiB.
    """
    opened = tuple(all_unpacked(sources))
    statuses = [source.status() for source in opened]
    identities = [(source.name, *source.identity(status)) for source, status in zip(opened, statuses, strict=True)]
    key = repr((_FORMAT, scheme, identities))
    file = cache_folder() / "ranges" / f"{blake2b(key.encode('utf-8', 'surrogateescape'), digest_size=16).hexdigest()}.npz"
    found = _kept(file, opened)
    if found is None:
        found = _scan_all(opened, scan, scheme)
        if not all(source.is_settled(status) for source, status in zip(sources, statuses, strict=True)):
            return found
        parts = {"first": found.first, "start": found.start, "size": found.size, "line": found.line}
        head = np.frombuffer(json.dumps({"digest": found.digest}).encode(), np.uint8)
        keep(file, lambda stream: np.savez(stream, head=head, **parts), "places of samples in files")
    return found


def _scan_all(sources: tuple[Source, ...], scan: BlockScan, scheme: str) -> Ranges:
    copy_ahead(sources)
    progress = _ScanProgress(sum(source.size for source in sources))
    digest = blake2b(scheme.encode(), digest_size=16)
    found: list[NDArray[np.int64]] = []
    for source in sources:
        content = blake2b(digest_size=16)
        try:
            with source.open() as stream:
                places = list(scan(_watched(_blocks(stream), content.update, source, progress)))
                found.append(np.concatenate([np.zeros((0, 3), np.int64), *places]))
        except BadLine as error:
            raise ValueError(f"{source.name}:{error.line}: {error}") from error
        except OSError as error:
            raise source.unreadable(error) from error
        digest.update(f"{source.name}\0".encode("utf-8", "surrogateescape") + content.digest())
    start, stop, line = np.concatenate([np.zeros((0, 3), np.int64), *found]).T
    if len(start) and (stop - start).max() > _LARGEST:
        raise ValueError(f"a sample has {(stop - start).max():,} bytes; the limit is {_LARGEST:,}")
    first = np.cumsum([0, *(len(places) for places in found)])
    return Ranges(sources, first, start.copy(), (stop - start).astype(np.uint32), line.astype(np.uint32), digest.hexdigest())


class _ScanProgress:
    """Progress of the pass, logged every ten seconds."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self._last = total, 0, time.monotonic()

    def __call__(self, size: int) -> None:
        self.done += size
        if time.monotonic() - self._last >= _SECONDS:
            self._last = time.monotonic()
            logger.info("indexing samples: %.2f of %.2f GB; later runs reuse the index", self.done / 1e9, self.total / 1e9)


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Yield a file as blocks of whole lines."""
    while block := stream.read(_BLOCK):
        yield block + (b"" if block.endswith(b"\n") else stream.readline())


def _watched(
    blocks: Iterable[bytes], update: Callable[[bytes], object], source: Source, progress: _ScanProgress
) -> Iterator[bytes]:
    """Yield the blocks of lines, and pass each to ``update``.

    Raises:
        ValueError: the file is UTF-16 or UTF-32, whose line ends differ.
    """
    for number, block in enumerate(blocks):
        if not number and block.startswith(_MARKS):
            raise ValueError(f"{source} is UTF-16 or UTF-32, which is not supported; save it as UTF-8")
        update(block)
        progress(len(block))
        yield block


def _is_blank(line: bytes) -> bool:
    return not line.removeprefix(UTF8_MARK).strip()


def _kept(file: Path, sources: tuple[Source, ...]) -> Ranges | None:
    try:
        with np.load(file, allow_pickle=False) as kept:
            digest = json.loads(kept["head"].tobytes())["digest"]
            ranges = Ranges(sources, kept["first"], kept["start"], kept["size"], kept["line"], digest)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        logger.warning("%s is damaged (%s); samples are indexed again", file, error)
        return None
    return ranges


def _read_places(stream: BinaryIO, source: Source, places: Sequence[tuple[int, int]]) -> Iterator[bytes | Exception]:
    """Yield the bytes of each (start, stop) of ascending places, which are read at once, or one by one if that fails."""
    begin, end = places[0][0], places[-1][1]
    try:
        data = _read_at(stream, source, begin, end - begin)
    except (OSError, ValueError) as error:
        if len(places) == 1:
            yield error
        else:
            for place in places:
                yield from _read_places(stream, source, [place])
        return
    for start, stop in places:
        yield data[start - begin : stop - begin]


def _read_at(stream: BinaryIO, source: Source, start: int, size: int) -> bytes:
    if (found := stream.seek(0, io.SEEK_END)) != source.size:
        raise ValueError(f"{source.name} has {found:,} bytes, but had {source.size:,} at the start of the run")
    stream.seek(start)
    return _read(stream, size)


def _read(stream: BinaryIO, size: int) -> bytes:
    """Read exactly ``size`` bytes. One call on an unbuffered stream may return fewer."""
    parts: list[bytes] = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
