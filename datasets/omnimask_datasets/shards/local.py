"""Shards of a folder with their indexes. Missing or outdated indexes are created on first use."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path, PurePosixPath

from omnimask.cache import cache_folder
from omnimask.files import describe_endings, log_left_out, walk
from omnimask_datasets.shards import manifest
from omnimask_datasets.shards.index import SUFFIX, ShardIndex, make_index, read_index
from omnimask_datasets.shards.manifest import ShardEntry, ShardManifest

logger = logging.getLogger(f"omnimask.{__name__}")

TAR = ".tar"
_SECONDS = 10.0
"""Seconds between two progress messages."""


class LocalShards:
    """Tar files of a folder and its sub-folders, in the order of the manifest or sorted by name; or one tar file.

    Raises:
        ValueError: there are none, one is damaged or malicious, or they differ from the manifest.
    """

    def __init__(self, path: Path, *, follow_links: bool = False) -> None:
        path = path.expanduser().absolute()
        self.paths = find_shards(path, follow_links=follow_links)
        listed = read_manifest(path)
        if listed is not None:
            self.paths = _in_order(path, self.paths, listed)
        self.names = list(self.paths)
        entries = {} if listed is None else {entry.name: entry for entry in listed.shards}
        self.indexes = _indexes(self.paths, entries)

    def open(self, number: int) -> int:
        """Return a descriptor of a shard for reading."""
        return os.open(self.paths[self.names[number]], os.O_RDONLY)


def find_shards(path: Path, *, follow_links: bool = False) -> dict[str, Path]:
    """Return the shards' paths by name relative to the folder.

    Raises:
        ValueError: the folder is missing, or contains no tar files.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist (looked in {Path.cwd()})")
    if not path.is_dir() and not path.is_file():
        raise ValueError(f"{path} is neither a file nor a folder")
    if path.is_file():
        if path.suffix != TAR:
            raise ValueError(f"{path} is not a shard: its name must end in {TAR}; compressed tar files have no random access")
        return {path.name: path}
    names = sorted(name for name, _ in walk(path, follow_links=follow_links))
    found = {name: path / name for name in names if PurePosixPath(name).suffix == TAR}
    others = [name for name in names if name not in found and not name.endswith(SUFFIX) and name != manifest.NAME]
    if not found:
        raise ValueError(f"{path} contains no files ending in {TAR}; found {describe_endings(others)}")
    log_left_out(path, len(found), others)
    return found


def read_manifest(path: Path) -> ShardManifest | None:
    """Return the manifest of a folder, or None if it has none.

    Raises:
        ValueError: the manifest is invalid or unreadable.
    """
    place = path / manifest.NAME
    if not path.is_dir() or not place.is_file():
        return None
    try:
        return ShardManifest.from_bytes(place.read_bytes(), str(place))
    except OSError as error:
        raise ValueError(f"{place} cannot be read: {error.strerror or error}") from error


def index_of(path: Path, name: str, entry: ShardEntry | None = None) -> ShardIndex:
    """Return the index of a shard, from the file beside it or the cache. If neither matches, create and store a new one.

    An index matches a shard with the same size and modification time, or with the same headers.

    Raises:
        ValueError: the shard is damaged or malicious, or differs from the manifest's description.
        OSError: the shard cannot be read.
    """
    stat = path.stat()
    if entry is not None and stat.st_size != entry.size:
        raise ValueError(_foreign(name, f"it has {stat.st_size:,} bytes instead of {entry.size:,}"))
    known: ShardIndex | None = None
    for place in (beside(path), _cached(path)):
        index = _read(place)
        if index is not None and (index.size, index.mtime) == (stat.st_size, stat.st_mtime_ns):
            return _checked(index, name, entry)
        known = known or index
    index = make_index(path, name)
    if known is not None and known.headers == index.headers:
        index = dataclasses.replace(known, size=index.size, mtime=index.mtime)  # a copy: what else is known of it stays
    elif known is not None and entry is None:
        logger.warning("%s changed since it was indexed; indexing it again", path)
    _keep(path, _checked(index, name, entry))
    return index


def beside(path: Path) -> Path:
    """Return the path of a shard's index in a writable folder."""
    return path.with_name(path.name + SUFFIX)


def write_index(path: Path, index: ShardIndex) -> None:
    """Write an index file atomically: it is complete or absent.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(index.to_bytes())
        Path(part).chmod(0o644)
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def _indexes(paths: Mapping[str, Path], entries: Mapping[str, ShardEntry]) -> list[ShardIndex]:
    found: list[ShardIndex] = []
    last = time.monotonic()
    for name, path in paths.items():
        try:
            found.append(index_of(path, name, entries.get(name)))
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
        if time.monotonic() - last >= _SECONDS:
            last = time.monotonic()
            logger.info("reading indexes: %d of %d shards; missing ones are created once", len(found), len(paths))
    return found


def _in_order(path: Path, found: Mapping[str, Path], listed: ShardManifest) -> dict[str, Path]:
    names = [entry.name for entry in listed.shards]
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"{path} lacks {len(missing)} of the {len(names)} shards that its manifest lists: {_some(missing)}")
    if foreign := sorted(set(found) - set(names)):
        raise ValueError(
            f"{path} contains {len(foreign)} shards that its manifest does not list: {_some(foreign)}; move them "
            f"elsewhere, or delete {manifest.NAME} to read all shards without it"
        )
    return {name: found[name] for name in names}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _checked(index: ShardIndex, name: str, entry: ShardEntry | None) -> ShardIndex:
    if entry is not None and index.headers != entry.headers:
        raise ValueError(_foreign(name, "it has the same size but other members"))
    return index


def _foreign(name: str, reason: str) -> str:
    return (
        f"{name} does not match {manifest.NAME}: {reason}. It was damaged or replaced (details: `omnimask data "
        f"verify`); delete {manifest.NAME} to read what is there without it"
    )


def _cached(path: Path) -> Path:
    digest = blake2b(str(path.absolute()).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    return cache_folder() / "shard-index" / f"{digest}{SUFFIX}"


def _read(place: Path) -> ShardIndex | None:
    try:
        return read_index(place)
    except (OSError, ValueError) as error:
        logger.warning("%s; creating it again", error)
        return None


def _keep(path: Path, index: ShardIndex) -> None:
    with contextlib.suppress(OSError):
        write_index(beside(path), index)
        return
    try:
        write_index(_cached(path), index)
    except OSError as error:
        logger.warning("the index of %s cannot be stored: %s", path, error)
