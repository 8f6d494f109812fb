"""Documents in files as a data set; what they mean is the business of a plugin's decoder."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from omnimask.interfaces import Context
from omnimask_datasets.ranges import Scan, by_blank_line, by_line, find_ranges
from omnimask_datasets.sources import digest_of, find_sources, label_of

_SCANS: Mapping[str, Scan] = {"blank_line": by_blank_line, "line": by_line}
_LARGEST = 2**30
"""Bytes that one packed document may unpack to."""


class DocumentFiles:
    """Base of data sets whose samples are the files of a folder, or what files are divided into.

    A sample is ``{field: bytes}``, and ``label``, the name of the first sub-folder, for a file that lies in one. Files ending in
    ``.gz`` are unpacked. A subclass sets ``extensions`` (lower case, with the dot), of which a single file may lack any, and
    ``field``.

    Args:
        path: a folder or a file.
        documents: what a document is: a ``file``, or the lines between blank ones (``blank_line``), or every ``line`` that is not
            blank. Files that are divided must have lines: UTF-8, say, not UTF-16.
    """

    extensions: ClassVar[tuple[str, ...]] = ()
    field: ClassVar[str] = "file"

    def __init__(self, context: Context, *, path: Path, documents: Literal["file", "blank_line", "line"] = "file") -> None:
        del context
        self.sources = find_sources(path, self.extensions)
        self.ranges = None if documents == "file" else find_ranges(self.sources, _SCANS[documents], documents)
        if self.ranges is not None and not len(self.ranges):
            raise ValueError(f"{path} holds no documents: {_blank(len(self.sources))}")

    def __len__(self) -> int:
        return len(self.sources) if self.ranges is None else len(self.ranges)

    def key(self, index: int) -> str:
        """The file's path relative to the folder, with forward slashes; of documents in it, with the line that they begin in."""
        return self.sources[index].name if self.ranges is None else self.ranges.name(index)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The document's bytes, and the label where there is one.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is damaged, unpacks to more than 1 GiB, or has changed since it was divided.
        """
        if self.ranges is None:
            source = self.sources[index]
            data = source.path.read_bytes()
            data = _unpack(data) if source.is_packed else data
        else:
            source, data = self.ranges.source(index), self.ranges.read(index)
        label = label_of(source.name)
        return {self.field: data} if label is None else {self.field: data, "label": label}

    def fingerprint(self) -> str:
        """Digest of names and sizes, or names and contents where files are divided; where they lie does not matter."""
        return digest_of(self.sources) if self.ranges is None else self.ranges.digest


def _unpack(data: bytes) -> bytes:
    try:
        with gzip.open(io.BytesIO(data)) as stream:
            found = stream.read(_LARGEST + 1)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"it cannot be unpacked: {error}") from error
    if len(found) > _LARGEST:
        raise ValueError(f"it unpacks to more than {_LARGEST:,} bytes")
    return found


def _blank(count: int) -> str:
    return "the file is blank" if count == 1 else f"its {count} files are blank"
