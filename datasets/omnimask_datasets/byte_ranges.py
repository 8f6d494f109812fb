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

_FORMAT = 2
_MARKS = (b"\xff\xfe", b"\xfe\xff")
UTF8_MARK = b"\xef\xbb\xbf"
_LARGEST = 2**32 - 1
_CHECKED = 4096
"""Lines between two looks at the clock."""
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
        return self.sources[bisect_right(self._bounds, index) - 1]

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
            if (size := stream.seek(0, io.SEEK_END)) != source.size:
                raise ValueError(f"{source.name} has {size:,} bytes, but had {source.size:,} at the start of the run")
            stream.seek(int(self.start[index]))
            return _read(stream, int(self.size[index]))


def by_line(lines: Iterable[bytes]) -> Iterator[tuple[int, int, int]]:
    """Yield every nonblank line."""
    start = 0
    for number, line in enumerate(lines, 1):
        if not _is_blank(line):
            yield start, start + len(line.rstrip(b"\r\n")), number
        start += len(line)


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


def find_ranges(sources: Sequence[Source], scan: Scan, scheme: str) -> Ranges:
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


def _scan_all(sources: tuple[Source, ...], scan: Scan, scheme: str) -> Ranges:
    copy_ahead(sources)
    progress = _ScanProgress(sum(source.size for source in sources))
    digest = blake2b(scheme.encode(), digest_size=16)
    found: list[NDArray[np.int64]] = []
    for source in sources:
        content = blake2b(digest_size=16)
        try:
            with source.open() as stream:
                found.append(_as_array(scan(_watched(stream, content.update, source, progress))))
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


def _as_array(places: Iterator[tuple[int, int, int]]) -> NDArray[np.int64]:
    """Return an array (n, 3), without an intermediate list of tuples."""
    return np.fromiter(itertools.chain.from_iterable(places), np.int64).reshape(-1, 3)


class _ScanProgress:
    """Progress of the pass, logged every ten seconds."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self._lines, self._last = total, 0, 0, time.monotonic()

    def __call__(self, size: int) -> None:
        self.done, self._lines = self.done + size, self._lines + 1
        if self._lines % _CHECKED == 0 and time.monotonic() - self._last >= _SECONDS:
            self._last = time.monotonic()
            logger.info("indexing samples: %.2f of %.2f GB; later runs reuse the index", self.done / 1e9, self.total / 1e9)


def _watched(lines: Iterable[bytes], update: Callable[[bytes], object], source: Source, progress: _ScanProgress) -> Iterator[bytes]:
    """Yield the lines, and pass each to ``update``.

    Raises:
        ValueError: the file is UTF-16 or UTF-32, whose line ends differ.
    """
    for number, line in enumerate(lines):
        if not number and line.startswith(_MARKS):
            raise ValueError(f"{source} is UTF-16 or UTF-32, which is not supported; save it as UTF-8")
        update(line)
        progress(len(line))
        yield line


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


def _read(stream: BinaryIO, size: int) -> bytes:
    """Read exactly ``size`` bytes. One call on an unbuffered stream may return fewer."""
    parts: list[bytes] = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
