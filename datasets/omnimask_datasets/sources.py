"""Files of a data set: one file or a folder. Files ending in .gz are unpacked into the cache."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from omnimask.cache import cache_folder, keep
from omnimask.files import content_digest, files_ending_in, files_state

logger = logging.getLogger(f"omnimask.{__name__}")

PACKED = ".gz"


@dataclass(frozen=True)
class SourceFile:
    """One file: ``name`` relative to the folder (with forward slashes), ``path``, and ``size`` in bytes."""

    name: str
    path: Path
    size: int

    @property
    def is_packed(self) -> bool:
        return self.path.name.lower().endswith(PACKED)


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
        raise ValueError(f"{path} does not exist (looked in {Path.cwd()})")
    if not path.is_dir():
        raise ValueError(f"{path} is neither a file nor a folder")
    found, _ = files_ending_in(path, extensions, follow_links=follow_links, ending=extension_of)
    return [SourceFile(name, path / name, size) for name, size in found]


def extension_of(name: str) -> str:
    """Return the ending in lower case, without ``.gz``."""
    return PurePosixPath(name.lower().removesuffix(PACKED)).suffix


def digest_of(sources: Iterable[SourceFile]) -> str:
    """Return a digest of the files' names and contents. Their location does not affect it."""
    return content_digest((source.name, source.path) for source in sources)


def state_of(sources: Iterable[SourceFile]) -> str:
    """Return a digest of the files' locations, sizes and times."""
    return files_state(source.path for source in sources)


def unpacked(source: SourceFile) -> SourceFile:
    """Return the source, or its unpacked content in a cache file if it is packed, for random access.

    Raises:
        ValueError: the file is damaged or cannot be read, or the cache cannot be written.
    """
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
