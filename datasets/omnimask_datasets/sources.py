"""The files that a data set is made of: one file or a folder of them; files that end in .gz are unpacked into the cache."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from omnimask.data.cache import cache_folder, keep
from omnimask.data.walk import endings, walk

logger = logging.getLogger(f"omnimask.{__name__}")

PACKED = ".gz"


@dataclass(frozen=True)
class Source:
    """One file: its ``name`` relative to the folder (with forward slashes), its ``path`` and its ``size`` in bytes."""

    name: str
    path: Path
    size: int

    @property
    def is_packed(self) -> bool:
        return self.path.name.lower().endswith(PACKED)


def find_sources(path: Path, extensions: Sequence[str]) -> list[Source]:
    """The file at ``path``, whatever it ends in; or those of the folder and its sub-folders that end in one of ``extensions``
    (lower case, with the dot), or in one of them and ``.gz``, in the order of their names. Hidden files are left out.

    Raises:
        ValueError: there is nothing at ``path``, or no such file in the folder.
    """
    path = Path(path).expanduser().absolute()
    if path.is_file():
        return [Source(path.name, path, path.stat().st_size)]
    if not path.exists():
        raise ValueError(f"{path} does not exist (looked in {Path.cwd()})")
    found = sorted(walk(path))
    chosen = [Source(name, path / name, size) for name, size in found if extension_of(name) in extensions]
    if not chosen:
        raise ValueError(f"{path} holds no files ending in {', '.join(extensions)}; found {_others([name for name, _ in found])}")
    return chosen


def extension_of(name: str) -> str:
    """The ending in lower case, without ``.gz``."""
    return PurePosixPath(name.lower().removesuffix(PACKED)).suffix


def label_of(name: str) -> str | None:
    """The name of the first sub-folder, for a file that lies in one."""
    first, *rest = name.split("/")
    return first if rest else None


def digest_of(sources: Iterable[Source]) -> str:
    """Of their names and sizes; where they lie does not matter."""
    digest = blake2b(digest_size=16)
    for source in sources:
        digest.update(f"{source.name}\0{source.size}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def unpacked(source: Source) -> Source:
    """The source itself; or its content in a file of the cache, where it is packed, for reading anywhere in it.

    Raises:
        ValueError: it is damaged, cannot be read, or the cache cannot be written.
    """
    if not source.is_packed:
        return source
    try:
        status = source.path.stat()
        identity = f"{source.path}\0{status.st_size}\0{status.st_mtime_ns}"
        name = blake2b(identity.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
        file = cache_folder() / "unpacked" / name
        if not file.exists():
            logger.info("unpacking %s into %s", source.path, file)
            keep(file, lambda stream: _unpack(source.path, stream), f"the contents of {source.name}")
        return Source(source.name, file, file.stat().st_size)
    except FileNotFoundError as error:
        raise ValueError(f"{source.path} cannot be unpacked into {cache_folder()}; choose a folder with OMNIMASK_CACHE") from error
    except OSError as error:
        raise ValueError(f"{source.path} cannot be read: {error.strerror or error}") from error


def _unpack(path: Path, stream: BinaryIO) -> None:
    with gzip.open(path) as packed:
        while True:
            try:
                data = packed.read(2**20)
            except (OSError, zlib.error, EOFError) as error:
                raise ValueError(f"{path} cannot be unpacked: {error}") from error
            if not data:
                return
            stream.write(data)


def _others(names: Sequence[str]) -> str:
    return f"{len(names)} other files: {endings(names)}" if names else "no files at all"
