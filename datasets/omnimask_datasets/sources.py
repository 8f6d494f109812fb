"""Files of a data set: one file or a folder, local or on a server. Files ending in .gz are unpacked into the cache."""

from __future__ import annotations

import dataclasses
import gzip
import io
import logging
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeAlias, cast

from omnimask.cache import cache_folder, keep
from omnimask.files import content_digest, files_ending_in, files_state, identity, is_settled
from omnimask.remote import PACKED, CacheOptions, RemoteFile, RemoteFiles

logger = logging.getLogger(f"omnimask.{__name__}")

CACHE = CacheOptions()
"""Default of the option ``cache``."""
INSTEAD: Mapping[str, str] = {"path": "url"}
"""A path is required unless a URL is given."""
_THREADS = 8
"""Files that are copied at the same time."""


@dataclass(frozen=True)
class SourceFile:
    """One file: ``name`` relative to the folder (with forward slashes), ``path``, and ``size`` in bytes."""

    name: str
    path: Path
    size: int

    @property
    def is_packed(self) -> bool:
        return self.path.name.lower().endswith(PACKED)

    def open(self, buffering: int = -1) -> BinaryIO:
        """Return a stream of the file's bytes."""
        return cast(BinaryIO, self.path.open("rb", buffering=buffering))

    def status(self) -> os.stat_result | None:
        """Return the file's status. Raise ``ValueError`` if it has none."""
        try:
            return self.path.stat()
        except OSError as error:
            raise self.unreadable(error) from error

    def identity(self, status: os.stat_result | None) -> tuple[str, ...]:
        """Return what stays the same until the file changes."""
        return identity(self.path, status)

    def is_settled(self, status: os.stat_result | None) -> bool:
        """Return whether another change of the file would alter its identity."""
        return self.is_packed or (status is not None and is_settled(status))

    def unreadable(self, error: OSError) -> ValueError:
        """Return the error for a file that cannot be read."""
        return ValueError(f"{self.path} cannot be read: {error.strerror or error}")

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class RemoteSource:
    """One file of a server: ``name`` relative to the folder, ``size`` in bytes, and whether its content is ``unpacked``."""

    name: str
    size: int
    files: RemoteFiles
    file: RemoteFile
    unpacked: bool = False

    @property
    def is_packed(self) -> bool:
        return self.name.lower().endswith(PACKED) and not self.unpacked

    def open(self, buffering: int = -1) -> BinaryIO:
        """Return a stream of the bytes of the file's copy. Copy the file first if necessary."""
        stream = self.files.open(self.file, unpacked=self.unpacked)
        return stream if buffering == 0 else cast(BinaryIO, io.BufferedReader(cast(io.FileIO, stream)))

    def status(self) -> os.stat_result | None:
        """Return None: the identity holds what the server told at the start."""
        return None

    def identity(self, status: os.stat_result | None) -> tuple[str, ...]:
        """Return what stays the same until the file changes."""
        del status
        return self.file.identity

    def is_settled(self, status: os.stat_result | None) -> bool:
        """Return whether a change of the file would alter its identity."""
        del status
        return bool(self.file.version)

    def unreadable(self, error: OSError) -> ValueError:
        """Return the error for a file that cannot be read."""
        return ValueError(f"data.url: {error}")

    def __str__(self) -> str:
        return self.file.url


Source: TypeAlias = SourceFile | RemoteSource


def sources_at(
    path: Path | None, url: str | None, cache: CacheOptions, extensions: Sequence[str], *, follow_links: bool = False
) -> list[Source]:
    """Return the files at a local path (see :func:`find_sources`) or at a URL (see :class:`RemoteFiles`), sorted by name.

    Raises:
        ValueError: both or neither are given, there are no matching files, or the server cannot list them.
    """
    if (path is None) == (url is None):
        raise ValueError("this data set needs either path (local files) or url (of a server)")
    if path is not None:
        return [*find_sources(path, extensions, follow_links=follow_links)]
    return remote_sources(url or "", cache, extensions)


def remote_sources(url: str, cache: CacheOptions, extensions: Sequence[str]) -> list[Source]:
    """Return the file at a URL, or those of a folder or pattern that end in one of ``extensions``, sorted by name.

    Raises:
        ValueError: there are no such files, or the server cannot list them.
    """
    files = RemoteFiles(url, cache)
    try:
        found = files.find(lambda name: extension_of(name) in extensions)
    except OSError as error:
        raise ValueError(f"data.url: {error}") from error
    return [RemoteSource(file.name, file.size, files, file) for file in found]


def find_sources(path: Path, extensions: Sequence[str], *, follow_links: bool = False) -> list[SourceFile]:
    """Return the file at ``path``, or the matching files of the folder and its sub-folders, sorted by name.

    A single file may have any ending. Files of a folder must end in one of ``extensions``, optionally followed by ``.gz``. Hidden
    files are skipped.

    Args:
        path: a regular file or a folder.
        extensions: endings of a folder's files (lower case, with the dot).
        follow_links: whether to follow links to folders outside of the folder.

    Raises:
        ValueError: ``path`` does not exist, or the folder has no matching files.
    """
    path = Path(path).expanduser().absolute()
    if path.is_file():
        return [SourceFile(path.name, path, path.stat().st_size)]
    if not path.exists():
        raise ValueError(f"{path} does not exist (looked in {Path.cwd()}){url_hint(path)}")
    if not path.is_dir():
        raise ValueError(f"{path} is neither a file nor a folder")
    found, _ = files_ending_in(path, extensions, follow_links=follow_links, ending=extension_of)
    return [SourceFile(name, path / name, size) for name, size in found]


def url_hint(path: Path) -> str:
    """Return the end of a message about a missing path, if the path was meant as a URL."""
    return "; for files of a server use url instead of path" if ":/" in str(path) else ""


def extension_of(name: str) -> str:
    """Return the ending in lower case, without ``.gz``."""
    return PurePosixPath(name.lower().removesuffix(PACKED)).suffix


def digest_of(sources: Sequence[Source]) -> str:
    """Return a digest of the files' names and contents; of remote ones, of names, sizes and versions. Locations do not count."""
    remote = [source for source in sources if isinstance(source, RemoteSource)]
    if remote:
        return _digest((source.name, *source.identity(None)[1:]) for source in remote)
    return content_digest((source.name, source.path) for source in sources if isinstance(source, SourceFile))


def state_of(sources: Iterable[Source]) -> str:
    """Return a digest of the files' locations, sizes and times; of remote ones, of URLs, sizes and versions."""
    sources = list(sources)
    remote = [source for source in sources if isinstance(source, RemoteSource)]
    if remote:
        return _digest(source.identity(None) for source in remote)
    return files_state(source.path for source in sources if isinstance(source, SourceFile))


def _digest(rows: Iterable[tuple[str, ...]]) -> str:
    digest = blake2b(digest_size=16)
    for row in rows:
        digest.update(repr(row).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def unpacked(source: Source) -> Source:
    """Return the source, or its unpacked content in a cache file if it is packed, for random access.

    The content of a remote file takes the place of its copy in the bounded cache.

    Raises:
        ValueError: the file is damaged or cannot be read, or the cache cannot be written.
    """
    if isinstance(source, RemoteSource):
        return _unpacked_copy(source) if source.is_packed else source
    if not source.is_packed:
        return source
    try:
        source.path.stat()
        file = cache_folder() / "unpacked" / content_digest([(source.name, source.path)])
        if not file.exists():
            logger.info("unpacking %s into %s", source.path, file)
            keep(file, lambda stream: _unpack(source.path, stream), f"the contents of {source.name}")
        return SourceFile(source.name, file, file.stat().st_size)
    except FileNotFoundError as error:
        raise ValueError(
            f"{source.path} cannot be decompressed into {cache_folder()}; choose a folder with OMNIMASK_CACHE"
        ) from error
    except OSError as error:
        raise ValueError(f"{source.path} cannot be read: {error.strerror or error}") from error


def all_unpacked(sources: Sequence[Source]) -> list[Source]:
    """Return :func:`unpacked` sources. Remote ones are copied and unpacked in parallel."""
    if not any(isinstance(source, RemoteSource) for source in sources):
        return [unpacked(source) for source in sources]
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(unpacked, sources))


def copy_ahead(sources: Sequence[Source]) -> None:
    """Copy remote files in parallel before they are read one by one, unless the cache is too small for all of them.

    Raises:
        ValueError: a file cannot be copied.
    """
    remote = [source for source in sources if isinstance(source, RemoteSource)]
    if remote and sum(source.size for source in remote) <= remote[0].files.cache.size:
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(_copy, remote))


def _copy(source: RemoteSource) -> None:
    try:
        source.open(0).close()
    except OSError as error:
        raise source.unreadable(error) from error


def _unpacked_copy(source: RemoteSource) -> RemoteSource:
    found = dataclasses.replace(source, unpacked=True)
    try:
        with found.open(0) as stream:
            return dataclasses.replace(found, size=os.fstat(stream.fileno()).st_size)
    except OSError as error:
        raise source.unreadable(error) from error


def _unpack(path: Path, stream: BinaryIO) -> None:
    with gzip.open(path) as packed:
        while True:
            try:
                data = packed.read(2**20)
            except (OSError, zlib.error, EOFError) as error:
                raise ValueError(f"{path} cannot be decompressed: {error}") from error
            if not data:
                return
            stream.write(data)
