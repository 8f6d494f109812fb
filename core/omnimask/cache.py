"""A cache of computed properties of data, in files that are complete or absent. Imports no torch."""

from __future__ import annotations

import logging
import os
import sys
import zlib
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, runtime_checkable
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from omnimask.interfaces import Dataset

logger = logging.getLogger(__name__)


@runtime_checkable
class Stated(Protocol):
    """Optional capability of a data set of files, besides its fingerprint, which ignores the location and modification of files."""

    def state(self) -> str:
        """Return a text that differs whenever a file may have changed, for example of paths, sizes and times."""
        ...


def data_key(dataset: Dataset) -> str:
    """Return the cache key of a data set: its fingerprint and, if available, the state of its files."""
    return repr((dataset.fingerprint(), dataset.state() if isinstance(dataset, Stated) else None))


def cache_folder() -> Path:
    """Return the cache folder: ``$OMNIMASK_CACHE``, else ``~/.cache/omnimask``."""
    folder = os.environ.get("OMNIMASK_CACHE")
    return Path(folder) if folder else Path.home() / ".cache" / "omnimask"


def write_whole(file: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let ``write`` fill a temporary file beside ``file``, then rename it. On failure, ``file`` stays as it was.

    Raises:
        OSError: the file cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = temporary_beside(file)
    try:
        with part.open("xb") as stream:
            write(stream)
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def temporary_beside(path: Path) -> Path:
    """Return an unused name beside a file or folder, for its contents until they are complete."""
    return path.with_name(f"{path.name}.{os.getpid()}-{uuid4().hex[:8]}.part")


def checksum(file: Path) -> int:
    """Return the CRC-32 of a file's bytes."""
    found = 0
    with file.open("rb") as stream:
        while block := stream.read(1 << 24):
            found = zlib.crc32(block, found)
    return found


def keep(file: Path, write: Callable[[BinaryIO], object], what: str) -> bool:
    """Write a file of the cache with :func:`write_whole`. On failure, warn about uncached ``what``.

    Return whether the file was written.
    """
    try:
        write_whole(file, write)
    except OSError as error:
        logger.warning("%s are not cached: %s", what, error)
        return False
    return True


def keep_array(file: Path, array: NDArray[np.int64], what: str) -> None:
    """Cache an array as an ``.npy`` file."""
    keep(file, lambda stream: np.save(stream, array, allow_pickle=False), what)


def kept_array(file: Path, fits: Callable[[NDArray[np.int64]], bool], what: str) -> NDArray[np.int64] | None:
    """Return the int64 array of a file, or None if it is missing. A damaged or unfitting file gives None with a warning."""
    try:
        array = np.load(file, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        logger.warning("cached %s %s cannot be read (%s) and are recomputed", what, file, error)
        return None
    if array.dtype != np.int64 or not fits(array):
        logger.warning("cached %s %s do not fit the data set and are recomputed", what, file)
        return None
    return array


def code_digest(*components: Any) -> str:
    """Return a digest of the code with which components read data.

    It covers the Python files of their packages, and their ``fingerprint()`` if they have one (of a vocabulary file, for example).
    """
    digest = blake2b(digest_size=16)
    for component in components:
        for name, path in _sources(type(component).__module__):
            digest.update(f"{name}\0".encode() + path.read_bytes())
        offered = getattr(component, "fingerprint", None)
        digest.update(str(offered()).encode() if callable(offered) else b"\0")
    return digest.hexdigest()


def _sources(module: str) -> list[tuple[str, Path]]:
    """Return the Python files of a module's top-level package, with their names relative to it."""
    top = sys.modules.get(module.partition(".")[0])
    file = getattr(top, "__file__", None)
    if file is None:
        return []
    root = Path(file).parent
    return [
        (path.relative_to(root).as_posix(), path)
        for path in sorted(root.rglob("*.py") if hasattr(top, "__path__") else [Path(file)])
    ]
