"""Members of a zip file as a data set. Nothing is extracted, so member names never reach the file system."""

from __future__ import annotations

import lzma
import os
import zipfile
import zlib
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from omnimask.errors import UserError
from omnimask.files import Row, describe_endings, log_left_out, parse_labels, unknown_keys
from omnimask.interfaces import Context
from omnimask.remote import CacheOptions
from omnimask_datasets.folder_labels import FolderLabels
from omnimask_datasets.sources import CACHE, INSTEAD, Source, SourceFile, sources_at, state_of, url_hint

LABELS = "labels.csv"
"""Default member for the labels, if the archive has it."""
_LARGEST = 2**30
"""Largest unpacked size of a member, in bytes."""
_ENCRYPTED = 0x1


class ZipArchive:
    """Base of data sets whose samples are the members of a zip file, sorted by name.

    A sample is ``{field: bytes}`` with an optional ``label``. The label comes from the label table. Without a table it is the name
    of the first folder, or of the second if the first ones are named train, val, test or similar. Hidden members are skipped. Each
    process opens the file on its first read and keeps it open. A subclass sets ``extensions`` (lower case, with the dot) and
    ``field``.

    Args:
        path: the zip file.
        url: instead of a path, a URL for ``fsspec`` (``https://host/photos.zip``). The file is copied into a cache.
        cache: location and size of the copies, timeouts and retries.
        labels: name of the member with the labels: a CSV table in UTF-8 with the columns ``file`` (or ``key``) and
            ``label``. None: ``labels.csv`` if the archive has it, otherwise folder names are the labels.
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
        labels: str | None = None,
    ) -> None:
        del context
        self.source = _local(path) if url is None and path is not None else _remote(path, url, cache)
        self._open: tuple[int, zipfile.ZipFile] | None = None
        members = self._members()
        self.names = sorted(name for name in members if self._is_sample(name))
        if not self.names:
            wanted = ", ".join(self.extensions)
            raise ValueError(f"{self.source} contains no members ending in {wanted}; found {describe_endings(list(members))}")
        taken = {*self.names, LABELS if labels is None else labels}
        log_left_out(self.source, len(self.names), [name for name in members if name not in taken])
        self.sizes = [members[name].file_size for name in self.names]
        self.checksums = [members[name].CRC for name in self.names]
        self.labels = self._labels(labels, members)

    def __len__(self) -> int:
        return len(self.names)

    def key(self, index: int) -> str:
        """Return the member's name."""
        return self.names[index]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the member's bytes, and its label if it has one.

        Raises:
            ValueError: the member is encrypted, damaged, larger than 1 GiB, or compressed by a method unsupported by Python.
            OSError: the archive cannot be read.
        """
        name = self.names[index]
        sample: dict[str, Any] = {self.field: self._read(name)}
        label = self.labels.get(name)
        return sample if label is None else {**sample, "label": label}

    def fingerprint(self) -> str:
        """Return a digest of the members' names, sizes and checksums. The archive's location does not affect it."""
        digest = blake2b(digest_size=16)
        for name, size, checksum in zip(self.names, self.sizes, self.checksums, strict=True):
            digest.update(f"{name}\0{size}\0{checksum}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def state(self) -> str:
        """Return a digest of the archive's location, size and times."""
        return state_of([self.source])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}

    def _members(self) -> dict[str, zipfile.ZipInfo]:
        """Return the archive's files by name. Of duplicate names the last one counts, as in every zip reader."""
        try:
            archive = self._archive()
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise ValueError(f"{self.source} is not a readable zip file: {error}") from error
        except OSError as error:
            raise self.source.unreadable(error) from error
        return {info.filename: info for info in archive.infolist() if not info.is_dir()}

    def _is_sample(self, name: str) -> bool:
        parts = PurePosixPath(name).parts
        is_hidden = any(part.startswith(".") and part != ".." for part in parts) or "__MACOSX" in parts
        return not is_hidden and PurePosixPath(name).suffix.lower() in self.extensions

    def _labels(self, table: str | None, members: Mapping[str, zipfile.ZipInfo]) -> dict[str, str]:
        if table is None and LABELS not in members:
            label_of = FolderLabels(self.names, self.source)
            return {name: label for name in self.names if (label := label_of(name)) is not None}
        name = table or LABELS
        if name not in members:
            tables = [member for member in members if member.endswith(".csv")]
            raise ValueError(f"{self.source} has no member {name!r} with labels; its tables: {', '.join(tables) or 'none'}")
        source = f"{self.source}:{name}"
        rows: Mapping[str, Row] = parse_labels(self._read(name), source)
        if problems := unknown_keys(rows, self.names, source, "member"):
            raise UserError(*problems)
        return {key: row.label for key, row in rows.items()}

    def _archive(self) -> zipfile.ZipFile:
        """Return the open archive. Every process opens its own, since forked processes would share a file position."""
        if self._open is None or self._open[0] != os.getpid():
            self._open = os.getpid(), zipfile.ZipFile(self.source.open())
        return self._open[1]

    def _read(self, name: str) -> bytes:
        try:
            archive = self._archive()
            info = archive.getinfo(name)
            if info.flag_bits & _ENCRYPTED:
                raise ValueError(f"the member {name} is encrypted")
            if info.file_size > _LARGEST:
                raise ValueError(f"the member {name} unpacks to {info.file_size:,} bytes; the limit is {_LARGEST:,}")
            return archive.read(info)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, KeyError) as error:
            raise ValueError(f"the member {name} cannot be unpacked: {error}") from error


def _local(path: Path) -> SourceFile:
    path = Path(path).expanduser().absolute()
    if not path.exists():
        raise ValueError(f"the file {path} does not exist (looked in {Path.cwd()}){url_hint(path)}")
    if not path.is_file():
        what = "a folder" if path.is_dir() else "neither a file nor a folder"
        raise ValueError(f"{path} is {what}; path must be a zip file")
    return SourceFile(path.name, path, path.stat().st_size)


def _remote(path: Path | None, url: str | None, cache: CacheOptions) -> Source:
    found = sources_at(path, url, cache, (".zip",))
    if len(found) > 1:
        raise ValueError(f"data.url: {url} has {len(found)} zip files; give the address of one")
    return found[0]
