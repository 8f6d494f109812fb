"""Digests of file contents, cached under path, size and times. Imports no torch."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from omnimask.cache import cache_folder, keep_array, kept_array
from omnimask.data.progress_lines import watched

FINGERPRINT_FORMAT = 2
"""Version of the digests, stored with a run's fingerprint. Different versions cannot be compared."""
WHOLE = 16 * 2**30
"""Maximum number of bytes read for a digest. Beyond it, evenly spaced blocks of every file are read, this many bytes in all."""
_BLOCK = 2**16
_BYTES = 16
_COLUMNS = 2 * _BYTES // 8
_THREADS = 4
_SETTLED = 2 * 10**9
"""Nanoseconds after a change in which a second change could leave the times unchanged. Such files are not cached."""
_UNREADABLE = bytes(_BYTES)


class _File(NamedTuple):
    """File and the number of its bytes to read. ``status`` is None if unavailable."""

    name: str
    path: Path
    status: os.stat_result | None
    wanted: int


def content_digest(files: Iterable[tuple[str, Path]]) -> str:
    """Return a digest of the names and contents of files, independent of their location and times.

    Files are read once: digests are cached under each file's path, size, times and inode. Unreadable files have a digest of their
    own. If the files exceed 16 GiB, a sample of blocks is read; :func:`files_state` detects every change of those.

    Args:
        files: name and path of each, in the data set's order.
    """
    found = _with_shares([(name, path, _status(path)) for name, path in files])
    identities = [_identity_digest(file) for file in found]
    place = blake2b(f"{len(found)}\0".encode() + b"".join(os.fsencode(file.path) + b"\0" for file in found), digest_size=_BYTES)
    cached = cache_folder() / "contents" / f"{place.hexdigest()}.npy"
    known = _kept(cached)
    missing = [number for number, identity in enumerate(identities) if identity not in known]
    fresh: dict[int, bytes] = dict(zip(missing, _read_all([found[number] for number in missing]), strict=True))
    digests = [fresh[number] if number in fresh else known[identity] for number, identity in enumerate(identities)]
    if fresh:
        _keep(cached, [(i, d) for file, i, d in zip(found, identities, digests, strict=True) if _may_keep(file, d)])
    total = blake2b(digest_size=_BYTES)
    for file, digest in zip(found, digests, strict=True):
        size = -1 if file.status is None else file.status.st_size
        total.update(f"{file.name}\0{size}\0".encode("utf-8", "surrogateescape") + digest)
    return total.hexdigest()


def files_state(paths: Iterable[Path]) -> str:
    """Return a digest of paths, sizes, times and inodes. It changes whenever a file may have changed."""
    digest = blake2b(digest_size=_BYTES)
    for path in paths:
        digest.update(repr(identity(path, _status(path))).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def identity(path: Path, status: os.stat_result | None) -> tuple[str, ...]:
    """Return path, size, times and inode of a file, which stay the same until it is touched."""
    if status is None:
        return (str(path),)
    return str(path), *map(str, (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))


def is_settled(status: os.stat_result) -> bool:
    """Return whether the last change is old enough for another change to alter the times."""
    return time.time_ns() - status.st_mtime_ns > _SETTLED


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):
        return None


def _with_shares(files: Sequence[tuple[str, Path, os.stat_result | None]]) -> list[_File]:
    total = sum(status.st_size for _, _, status in files if status is not None)
    share = 1.0 if total <= WHOLE else WHOLE / total

    def wanted(status: os.stat_result | None) -> int:
        size = 0 if status is None else status.st_size
        return size if share == 1 else min(size, max(2 * _BLOCK, int(size * share)))

    return [_File(name, path, status, wanted(status)) for name, path, status in files]


def _identity_digest(file: _File) -> bytes:
    text = repr((*identity(file.path, file.status), file.wanted))
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=_BYTES).digest()


def _read_all(files: Sequence[_File]) -> Iterator[bytes]:
    """Yield the digest of each file. Log the progress every ten seconds."""
    with ThreadPoolExecutor(_THREADS) as pool:
        digests = pool.map(_read, files)
        yield from (next(digests) for _ in watched(range(len(files)), "reading files for the data's fingerprint"))


def _read(file: _File) -> bytes:
    if file.status is None or not stat.S_ISREG(file.status.st_mode):
        return _UNREADABLE
    digest = blake2b(digest_size=_BYTES)
    try:
        with file.path.open("rb", buffering=0) as stream:
            if file.wanted == file.status.st_size:
                while data := stream.read(2**20):
                    digest.update(data)
            else:
                _update_with_blocks(digest, stream.fileno(), file)
    except OSError:
        return _UNREADABLE
    return digest.digest()


def _update_with_blocks(digest: blake2b, descriptor: int, file: _File) -> None:
    assert file.status is not None
    for start in np.linspace(0, file.status.st_size - _BLOCK, file.wanted // _BLOCK).astype(np.int64).tolist():
        digest.update(os.pread(descriptor, _BLOCK, start))


def _may_keep(file: _File, digest: bytes) -> bool:
    return digest != _UNREADABLE and file.status is not None and is_settled(file.status)


def _kept(file: Path) -> dict[bytes, bytes]:
    array = kept_array(file, lambda found: found.ndim == 2 and found.shape[1] == _COLUMNS, "digests of files")
    if array is None:
        return {}
    rows = array.tobytes()
    starts = range(0, len(rows), 2 * _BYTES)
    return {rows[start : start + _BYTES]: rows[start + _BYTES : start + 2 * _BYTES] for start in starts}


def _keep(file: Path, rows: Sequence[tuple[bytes, bytes]]) -> None:
    array: NDArray[np.int64] = np.frombuffer(b"".join(i + d for i, d in rows), np.int64).reshape(-1, _COLUMNS)
    keep_array(file, array, "digests of files")
