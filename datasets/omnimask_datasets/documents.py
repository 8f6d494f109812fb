"""Documents in files as a data set. A plugin's decoder interprets them."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from omnimask.interfaces import Context
from omnimask.remote import CacheOptions
from omnimask_datasets.byte_ranges import BlockScan, by_blank_line, by_line, find_ranges, line_by_line
from omnimask_datasets.folder_labels import FolderLabels
from omnimask_datasets.sources import CACHE, INSTEAD, Source, digest_of, sources_at, state_of

_SCANS: Mapping[str, BlockScan] = {"blank_line": line_by_line(by_blank_line), "line": by_line}
_LARGEST = 2**30
"""Largest unpacked size of a packed document, in bytes."""


class DocumentFiles:
    """Base of data sets whose samples are files, or pieces of files.

    A sample is ``{field: bytes}``. A file in a sub-folder also has a ``label``: the name of the first folder, or of the second if
    the first ones are named train, val, test or similar. Files ending in ``.gz`` are unpacked. A subclass sets ``extensions``
    (lower case, with the dot) and ``field``. A single file may have any ending.

    Args:
        path: a folder or a file.
        url: instead of a path, a URL for ``fsspec`` (``https://host/page.txt``, ``s3://bucket/folder``, ``gs://bucket/a-*.txt``).
            Files are copied into a cache on their first read.
        cache: location and size of the copies, timeouts and retries.
        documents: unit of a document: a ``file``, the lines between blank ones (``blank_line``), or every ``line`` that is not
            blank. Divided files must consist of lines, for example UTF-8, not UTF-16.
        follow_links: whether to follow links to folders outside of a folder. Links to files are always followed.
    """

    extensions: ClassVar[tuple[str, ...]] = ()
    instead_of: ClassVar[Mapping[str, str]] = INSTEAD
    field: ClassVar[str] = "file"

    def __init__(
        self,
        context: Context,
        *,
        path: Path | None = None,
        url: str | None = None,
        cache: CacheOptions = CACHE,
        documents: Literal["file", "blank_line", "line"] = "file",
        follow_links: bool = False,
    ) -> None:
        del context
        self.sources = sources_at(path, url, cache, self.extensions, follow_links=follow_links)
        self.labels = FolderLabels((source.name for source in self.sources), path or url)
        self._fingerprint: str | None = None
        self.ranges = None if documents == "file" else find_ranges(self.sources, _SCANS[documents], documents)
        if self.ranges is not None and not len(self.ranges):
            raise ValueError(f"{path or url} contains no documents: {_blank(len(self.sources))}")

    def __len__(self) -> int:
        return len(self.sources) if self.ranges is None else len(self.ranges)

    def key(self, index: int) -> str:
        """Return the file's path relative to the folder, with forward slashes. For pieces of a file, append their first line."""
        return self.sources[index].name if self.ranges is None else self.ranges.name(index)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the document's bytes, and its label if it has one.

        Raises:
            OSError: the file cannot be read.
            ValueError: the file is damaged, unpacks to more than 1 GiB, or has changed since it was divided.
        """
        if self.ranges is None:
            source = self.sources[index]
            with source.open() as stream:
                data = stream.read()
            data = _unpack(data) if source.is_packed else data
        else:
            source, data = self.ranges.source(index), self.ranges.read(index)
        return self._document(source, data)

    def read_many(self, indices: Sequence[int]) -> Iterator[dict[str, Any] | Exception]:
        """Yield each document, or the exception of reading it. Pieces of a file are read many at a time."""
        if self.ranges is None:
            for index in indices:
                try:
                    yield self[index]
                except (OSError, ValueError) as error:
                    yield error
            return
        for index, data in zip(indices, self.ranges.read_many(indices), strict=True):
            yield data if isinstance(data, Exception) else self._document(self.ranges.source(index), data)

    def _document(self, source: Source, data: bytes) -> dict[str, Any]:
        label = self.labels(source.name)
        return {self.field: data} if label is None else {self.field: data, "label": label}

    def fingerprint(self) -> str:
        """Return a digest of names and contents. The files' location does not affect it."""
        if self.ranges is not None:
            return self.ranges.digest
        if self._fingerprint is None:
            self._fingerprint = digest_of(self.sources)
        return self._fingerprint

    def state(self) -> str:
        """Return a digest of the files' locations, sizes and times."""
        return state_of(self.sources)


def _unpack(data: bytes) -> bytes:
    try:
        with gzip.open(io.BytesIO(data)) as stream:
            found = stream.read(_LARGEST + 1)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"cannot be decompressed: {error}") from error
    if len(found) > _LARGEST:
        raise ValueError(f"its decompressed size exceeds {_LARGEST:,} bytes")
    return found


def _blank(count: int) -> str:
    return "the file is blank" if count == 1 else f"its {count} files are blank"
