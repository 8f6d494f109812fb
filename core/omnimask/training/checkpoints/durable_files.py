"""Durable writes: files are written, synced, then renamed into place, so a power loss at any point does no harm.

The three functions at the top are the only calls that change a disk. Tests make the n-th of them fail, for every n.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self, TextIO

from omnimask.errors import RunStopped


def _write(file: BinaryIO, data: Any) -> None:
    file.write(data)


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)


def _rename(source: Path, target: Path) -> None:
    source.replace(target)


@dataclass(frozen=True)
class FileRecord:
    """``size`` in bytes and ``sha256`` (hexadecimal) of a file."""

    size: int
    sha256: str


class DurableWriter:
    """New file, hashed while it is written and synced when the ``with`` block ends. ``torch.save`` accepts it.

    An ``OSError`` of a write leaves the ``with`` block unchanged, even if a library in between converted it.
    """

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = os.fdopen(_own(path, os.O_TRUNC), "wb")
        self._digest = hashlib.sha256()
        self._size = 0
        self._error: OSError | None = None

    def write(self, data: Any) -> int:
        """Append bytes and return their number."""
        try:
            _write(self._file, data)
        except OSError as error:
            self._error = error
            raise
        self._digest.update(data)
        size = memoryview(data).nbytes
        self._size += size
        return size

    def flush(self) -> None:
        """Do nothing: the end of the ``with`` block flushes and syncs."""

    @property
    def record(self) -> FileRecord:
        return FileRecord(self._size, self._digest.hexdigest())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._file.flush()
                _sync(self._file.fileno())
        finally:
            with contextlib.suppress(OSError):
                self._file.close()
        if self._error is not None and (kind is None or not issubclass(kind, OSError | KeyboardInterrupt)):
            raise self._error


def open_own(path: Path) -> TextIO:
    """Open a text file for appending. Raise ``OSError`` if it is a symbolic link."""
    return os.fdopen(_own(path, os.O_APPEND), "a", encoding="utf-8", errors="backslashreplace")


def _own(path: Path, flags: int) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | flags, 0o666)


def replace(path: Path, data: bytes) -> None:
    """Replace the contents of a file atomically."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        if temporary.is_symlink():
            temporary.unlink()
        with DurableWriter(temporary) as file:
            file.write(data)
        rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def replace_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace the contents of a file with indented JSON; see :func:`replace`."""
    replace(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def rename(source: Path, target: Path) -> None:
    """Rename a file or a directory to an unused name, and sync the parent folder."""
    _rename(source, target)
    sync_directory(target.parent)


def sync_directory(path: Path) -> None:
    """Sync the entries of a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


class Appender:
    """File to which whole lines are appended. After a crash the last line may be incomplete."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = os.fdopen(_own(path, os.O_APPEND), "ab", buffering=0)

    def append(self, line: str) -> None:
        _write(self._file, (line + "\n").encode())

    def sync(self) -> None:
        _sync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def hash_file(path: Path) -> FileRecord:
    """Return size and digest of a file on disk."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return FileRecord(path.stat().st_size, digest.hexdigest())


def stopped(error: OSError, path: Path, run: Path) -> RunStopped:
    """Return the error for a failed write, with the path, the reason, the free space and the remedy."""
    free = f"{shutil.disk_usage(nearest_existing(path)).free / 1e6:,.1f} MB free"
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "free some space, or lower train.keep_checkpoints" if is_full else "make the folder writable"
    return RunStopped(
        f"cannot write {path}: {error.strerror or error} ({free} there). "
        f"Earlier checkpoints are intact: {remedy}, then continue with `omnimask resume {run}`"
    )


@contextlib.contextmanager
def writing(path: Path, run: Path) -> Generator[None]:
    """Convert a failed write to ``path`` inside the ``with`` block into the ``RunStopped`` of :func:`stopped`."""
    try:
        yield
    except OSError as error:
        raise stopped(error, path, run) from error


def nearest_existing(path: Path) -> Path:
    """Return the path itself, or its closest existing parent."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())
