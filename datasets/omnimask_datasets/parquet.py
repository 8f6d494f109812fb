"""Parquet files as a data set."""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from omnimask.files import of_one_sample, watched
from omnimask.interfaces import Context
from omnimask.remote import CacheOptions
from omnimask_datasets.arrow_values import row_of
from omnimask_datasets.rows import UNREADABLE, Rows, check_column, file_bytes
from omnimask_datasets.sources import CACHE, INSTEAD, RemoteSource, Source, SourceFile, digest_of, sources_at, state_of

logger = logging.getLogger(f"omnimask.{__name__}")

KEPT_BYTES = 128 * 2**20
"""Bytes of decoded row groups kept in memory per process."""
_TAIL = 2**16
"""Last bytes of a remote file to read first; most metadata fit."""
_THREADS = 16


class Parquet(Rows):
    """Rows of one file, or of a folder's files that end in .parquet. All files must have the same columns.

    A sample contains the row's values by column: lists, mappings, ``bytes`` or None, according to the file's types. Files are read
    by whole row groups, and the most recent ones stay in memory (up to 128 MB). Larger data are visited in windows of the row
    groups in random order (``data.window``). This is fast if two groups fit into memory: groups of a thousand rows, not a million.

    Args:
        path: a folder, or one file with any ending.
        url: instead of a path, a URL for ``fsspec`` (``https://host/rows.parquet``, ``s3://bucket/folder``, ``gs://bucket/a-*.parquet``).
            Files are copied into a cache on their first read; of those not read yet, only the last bytes are loaded.
        cache: location and size of the copies, timeouts and retries.
        columns: columns to read; null: all.
        key: column with the samples' keys; null: the keys are file and row.
        labels: column of the field ``label``; null: the column ``label`` if it exists.
        follow_links: whether to follow links to folders outside of a folder. Links to files are always followed.
    """

    extensions: ClassVar[tuple[str, ...]] = (".parquet",)
    instead_of: ClassVar[Mapping[str, str]] = INSTEAD

    def __init__(
        self,
        context: Context,
        *,
        path: Path | None = None,
        url: str | None = None,
        cache: CacheOptions = CACHE,
        columns: list[str] | None = None,
        key: str | None = None,
        labels: str | None = None,
        follow_links: bool = False,
    ) -> None:
        del context
        self.sources = sources_at(path, url, cache, self.extensions, follow_links=follow_links)
        files, self._footers = _metadata_of(self.sources)
        self.columns = _chosen(self.sources, files, columns, key, labels)
        self.groups = [(number, group) for number, file in enumerate(files) for group in range(file.num_row_groups)]
        sizes = [files[number].row_group(group).num_rows for number, group in self.groups]
        self.first = np.cumsum([0, *sizes])
        self.first_of_file = np.cumsum([0, *(file.num_rows for file in files)])
        if not len(self):
            raise ValueError(f"{path or url} has no rows")
        self._digest: str | None = None
        self._kept: OrderedDict[int, pa.Table] = OrderedDict()
        self._is_kept_whole = _total(files, self.columns) <= KEPT_BYTES
        super().__init__(key, labels)

    def __len__(self) -> int:
        return int(self.first[-1])

    def place(self, index: int) -> str:
        """Return ``file:row``, with rows counted from 1."""
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} samples")
        file = int(np.searchsorted(self.first_of_file, index, side="right")) - 1
        return f"{self.sources[file].name}:{index - self.first_of_file[file] + 1}"

    def row(self, index: int) -> dict[str, Any]:
        """Return the values by column."""
        place = self.place(index)
        number = int(np.searchsorted(self.first, index, side="right")) - 1
        try:
            row = row_of(self._group(number), index - int(self.first[number]))
            return {name: file_bytes(value) for name, value in row.items()}
        except MemoryError:
            raise
        except OSError as error:
            raise OSError(f"{place}: {error}") from error
        except Exception as error:  # what Arrow raises for damaged pages, and Python for values that it cannot hold
            raise ValueError(f"{place}: {error}") from error

    def digest(self) -> str:
        """Return a digest of names and contents; of remote files, of names, sizes and what stands in their last bytes."""
        if self._digest is None:
            self._digest = self._footers or digest_of(self.sources)
        return self._digest

    def state(self) -> str:
        return state_of(self.sources)

    @property
    def group_starts(self) -> NDArray[np.int64] | None:
        """Return (G,) the first row of every row group, in reading order; None if all fit into memory."""
        return None if self._is_kept_whole else np.unique(self.first[:-1][np.diff(self.first) > 0])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": OrderedDict()}

    def _values(self, column: str) -> Iterator[Any]:
        """Yield the column's value of every row, one row group after the other."""
        for number, group in (self.groups[place] for place in watched(range(len(self.groups)), "reading keys by row group")):
            try:
                with _opened(self.sources[number]) as opened:
                    table = opened.read_row_group(group, columns=[column], use_threads=False)
            except (OSError, pa.ArrowException) as error:
                raise ValueError(f"{self.sources[number].name}: the column {column} cannot be read: {error}") from error
            for row in range(table.num_rows):
                try:
                    with of_one_sample:
                        value = table.column(0)[row].as_py()
                except (OSError, ValueError):
                    value = UNREADABLE
                yield value

    def _group(self, number: int) -> pa.Table:
        if number not in self._kept:
            file, group = self.groups[number]
            with _opened(self.sources[file]) as opened:
                self._kept[number] = opened.read_row_group(group, columns=self.columns, use_threads=False)
            total = sum(table.nbytes for table in self._kept.values())
            while total > KEPT_BYTES and len(self._kept) > 1:
                total -= self._kept.popitem(last=False)[1].nbytes
        self._kept.move_to_end(number)
        return self._kept[number]


@contextlib.contextmanager
def _opened(source: Source) -> Iterator[pq.ParquetFile]:
    if isinstance(source, SourceFile):
        with pq.ParquetFile(source.path) as opened:
            yield opened
    else:
        with source.open() as stream, pq.ParquetFile(stream) as opened:
            yield opened


def _metadata_of(sources: Sequence[Source]) -> tuple[list[pq.FileMetaData], str]:
    """Return the metadata of the files, and a digest of remote ones, or "" for local files."""
    remote = [source for source in sources if isinstance(source, RemoteSource)]
    if not remote:
        return [_metadata(source, str(source)) for source in sources], ""
    with ThreadPoolExecutor(_THREADS) as pool:
        footers = list(pool.map(_footer, remote))
    digest = blake2b(digest_size=16)
    for source, footer in zip(remote, footers, strict=True):
        digest.update(f"{source.name}\0{source.size}\0".encode("utf-8", "surrogateescape") + footer)
    return [_metadata(source, pa.BufferReader(footer)) for source, footer in zip(remote, footers, strict=True)], digest.hexdigest()


def _footer(source: RemoteSource) -> bytes:
    """Return the last bytes of a file, with all of its metadata: their length stands before the closing mark ``PAR1``."""
    server, url = source.files.server, source.file.url
    try:
        tail = server.read(url, max(0, source.size - _TAIL), source.size)
        size = int.from_bytes(tail[-8:-4], "little") + 8
        if size > len(tail) and size <= source.size:
            tail = server.read(url, source.size - size, source.size)
    except OSError as error:
        raise source.unreadable(error) from error
    return tail[-size:]


def _metadata(source: Source, place: Any) -> pq.FileMetaData:
    try:
        return pq.read_metadata(place)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{source} cannot be read as Parquet: {error}") from error


def _chosen(
    sources: Sequence[Source], files: Sequence[pq.FileMetaData], columns: list[str] | None, *others: str | None
) -> list[str]:
    """Return the columns to read: the requested ones, or all."""
    asked = [*(columns or ()), *(other for other in others if other is not None)]
    names = list(files[0].schema.to_arrow_schema().names)
    for source, file in zip(sources, files, strict=True):
        found = list(file.schema.to_arrow_schema().names)
        for column in asked or names:
            check_column(column, found, source.name)
        if doubled := sorted({name for name in found if found.count(name) > 1}):
            raise ValueError(f"{source.name}: duplicate column {doubled[0]!r}")
    return names if columns is None else list(dict.fromkeys(asked))


def _total(files: Sequence[pq.FileMetaData], columns: Sequence[str]) -> int:
    """Return the approximate unpacked size of all row groups, in bytes. Warn if a single group is too large."""
    largest, rows, total = 0, 0, 0
    for file in files:
        for group in (file.row_group(number) for number in range(file.num_row_groups)):
            chunks = [group.column(number) for number in range(group.num_columns)]
            size = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns)
            largest, rows, total = *max((largest, rows), (size, group.num_rows)), total + size
    if largest > KEPT_BYTES // 2 and total > KEPT_BYTES:
        logger.warning(
            "row groups have up to %d rows with %d MB, and random access decompresses a whole group; write "
            "smaller ones: pyarrow.parquet.write_table(..., row_group_size=1000)",
            rows,
            largest // 10**6,
        )
    return total
