"""Folder of bounded size with the most recently used files, shared by the processes of one machine.

A file is either complete or absent. One process loads it while the others wait. Locks belong to the operating system, so a process
that dies leaves none behind. Open files stay readable after their removal.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

logger = logging.getLogger(__name__)

_LOCK, _PART = ".lock", ".part"
_ROOM = "room"
_POLL = 0.05
_TRIES = 5


class FileCache:
    """Files by name. The least recently used is removed first.

    Args:
        folder: on a local disk; created when needed.
        size: most bytes of all files together, including those being loaded.
        patience: seconds to wait for another process that loads a file without progress.
    """

    def __init__(self, folder: Path, size: int, patience: float) -> None:
        self.folder, self.size, self.patience = folder, size, patience

    def open(self, name: str, size: int | None, load: Callable[[Path], object], *, at_least: int = 0) -> int:
        """Return a descriptor of a file. If the file is missing, ``load`` writes it.

        Args:
            name: name of the file, not a path.
            size: size of the file in bytes; None: unknown before it is loaded.
            load: writes the file to the given path.
            at_least: bytes to make room for, if the size is unknown.

        Raises:
            ValueError: the file is larger than the cache.
            OSError: the file cannot be loaded or written; ``TimeoutError`` if another process took too long to load it.
        """
        path = self.folder / name
        for _ in range(_TRIES):
            with contextlib.suppress(FileNotFoundError):
                descriptor = os.open(path, os.O_RDONLY)
                if size is None or os.fstat(descriptor).st_size == size:
                    os.utime(descriptor)
                    return descriptor
                os.close(descriptor)
                path.unlink()
            self._load(path, size, load, at_least)
        raise OSError(
            f"{name} was removed from {self.folder} {_TRIES} times before it could be opened; data.cache.size is too small"
        )

    def _load(self, path: Path, size: int | None, load: Callable[[Path], object], at_least: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._check_size(path, size or at_least)
        with self._locked(path.name) as lock:
            if path.exists():
                return
            self._remove_parts(path.name)
            part = path.with_name(path.name + _PART)
            try:
                self._reserve(lock, path, size or at_least)
                load(part)
                if size is None:
                    self._reserve(lock, path, part.stat().st_size)
                part.replace(path)
            finally:
                os.truncate(lock, 0)
                self._remove_parts(path.name)

    def _check_size(self, path: Path, size: int) -> None:
        if size > self.size:
            raise ValueError(f"{path.name} has {size:,} bytes, and the cache {self.size:,}; raise data.cache.size")

    def _reserve(self, lock: int, path: Path, size: int) -> None:
        """Make room for a file, and let other processes know its size."""
        self._check_size(path, size)
        os.truncate(lock, 0)
        os.pwrite(lock, str(size).encode(), 0)
        with self._locked(_ROOM):
            self._make_room(size, path.name)

    def _make_room(self, size: int, name: str) -> None:
        """Remove files until ``size`` bytes fit. Files being loaded by other processes count too."""
        files: list[tuple[float, int, Path]] = []
        reserved = 0
        for entry in self.folder.iterdir():
            if entry.suffix == _LOCK:
                reserved += self._reserved(entry) if entry.stem not in (name, _ROOM) else 0
            elif entry.suffix != _PART and entry.is_file():
                with contextlib.suppress(FileNotFoundError):
                    stat = entry.stat()
                    files.append((stat.st_mtime, stat.st_size, entry))
        total = reserved + sum(file_size for _, file_size, _ in files)
        for _, file_size, path in sorted(files):
            if total + size <= self.size:
                break
            logger.debug("removed from the cache: %s", path)
            path.unlink(missing_ok=True)
            total -= file_size

    def _reserved(self, lock: Path) -> int:
        """Return the number of bytes that a process is loading. Remove the remains of a dead process."""
        text = lock.read_bytes()
        if not text:
            return 0
        descriptor = os.open(lock, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return int(text)
        else:
            self._remove_parts(lock.stem)
            os.truncate(descriptor, 0)
            return 0
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[int]:
        descriptor = os.open(self.folder / f"{name}{_LOCK}", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._wait_for(descriptor, name)
            yield descriptor
        finally:
            os.close(descriptor)

    def _wait_for(self, descriptor: int, name: str) -> None:
        """Acquire a lock. Its holder must make progress."""
        loaded, last = self._loaded(name), time.monotonic()
        while True:
            try:
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() - last > self.patience:
                    if (now := self._loaded(name)) == loaded:
                        reason = f"another process is loading {name} and made no progress for {self.patience:g} seconds"
                        raise TimeoutError(reason) from error
                    loaded, last = now, time.monotonic()
                time.sleep(_POLL)

    def _parts(self, name: str) -> list[Path]:
        """Return the partially loaded files of one name, over all attempts."""
        return [path for path in self.folder.iterdir() if path.name.startswith(name + _PART)]

    def _remove_parts(self, name: str) -> None:
        for part in self._parts(name):
            part.unlink(missing_ok=True)

    def _loaded(self, name: str) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        for part in self._parts(name):
            with contextlib.suppress(FileNotFoundError):
                found.append((part.name, part.stat().st_size))
        return sorted(found)
