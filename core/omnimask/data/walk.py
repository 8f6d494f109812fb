"""Files of a folder and its sub-folders. Imports no torch."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from omnimask.data.progress_lines import SECONDS

logger = logging.getLogger(__name__)

_NAMED = 3
_PACKED = (".gz", ".bz2", ".xz", ".zst")


def walk(root: Path, *, follow_links: bool = False) -> Iterator[tuple[str, int]]:
    """Yield the relative posix path and size of every regular file that is not hidden. The size of a broken link is -1.

    Hidden folders are skipped. Links to files are followed, as are links to folders inside ``root``, except to a parent folder.
    Pipes, sockets and devices are never files. A warning names the skipped entries. The number of files is logged every ten
    seconds.

    Args:
        root: the folder.
        follow_links: whether links to folders outside ``root`` are followed too.

    Raises:
        ValueError: a folder cannot be listed.
    """
    top = root.resolve()
    folders: list[tuple[Path, str, frozenset[Path]]] = [(root, "", frozenset({top}))]
    left_out = _LeftOut(root)
    count, last = 0, time.monotonic()
    while folders:
        folder, prefix, above = folders.pop()
        for entry in _entries(folder):
            if entry.name.startswith("."):
                continue
            name = prefix + entry.name
            if _is_folder(entry):
                real = Path(entry.path).resolve() if entry.is_symlink() else None
                if real is not None and not follow_links and not real.is_relative_to(top):
                    left_out.links.append(f"{name} -> {real}")
                elif (real := real or Path(entry.path).resolve()) not in above:
                    folders.append((Path(entry.path), f"{name}/", above | {real}))
            elif (size := _size(entry)) is None:
                left_out.special.append(name)
            else:
                count += 1
                yield name, size
            if time.monotonic() - last >= SECONDS:
                last = time.monotonic()
                logger.info("listing %s: %d files so far, now in %s", root, count, prefix or ".")
    left_out.warn()


def files_ending_in(
    root: Path, extensions: Sequence[str], *, follow_links: bool = False, ending: Callable[[str], str] | None = None
) -> tuple[list[tuple[str, int]], list[str]]:
    """Return sorted relative paths and sizes of the files with one of the endings, and the paths of the others, which are logged.

    Args:
        root: the folder.
        extensions: lower case, with the dot.
        follow_links: see :func:`walk`.
        ending: returns the ending of a file's name; None means its suffix in lower case.

    Raises:
        ValueError: a folder cannot be listed, or there is no such file.
    """
    ending = ending or suffix
    found = sorted(walk(root, follow_links=follow_links))
    chosen = [(name, size) for name, size in found if ending(name) in extensions]
    others = [name for name, _ in found if ending(name) not in extensions]
    if not chosen:
        raise ValueError(f"{root} contains no files ending in {', '.join(extensions)}; found {describe_endings(others)}")
    log_left_out(root, len(chosen), others)
    return chosen, others


def log_left_out(place: object, num_taken: int, others: Sequence[str]) -> None:
    """Log the number and endings of the skipped files."""
    if others:
        logger.info("%s: reading %d files, ignoring %d: %s", place, num_taken, len(others), endings(others))


def suffix(name: str) -> str:
    """Return the suffix of a file's name in lower case, with the dot."""
    return PurePosixPath(name).suffix.lower()


def endings(names: Sequence[str], most: int = 5) -> str:
    """Return the most frequent endings of files, with their numbers: ``12 with .txt, 3 with no extension``."""
    counted = Counter(_shown(name) or "no extension" for name in names)
    return ", ".join(f"{number} with {ending}" for ending, number in counted.most_common(most))


def _shown(name: str) -> str:
    """Return the suffix; for a compressed file, with the one before it: ``.tar.gz``."""
    last = suffix(name)
    return (suffix(name[: -len(last)]) if last in _PACKED else "") + last


def describe_endings(names: Sequence[str]) -> str:
    """Return a short description of the other files of a folder or archive."""
    return f"{len(names)} other files: {endings(names)}" if names else "no files at all"


class _LeftOut:
    """Names of skipped entries."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.links: list[str] = []
        self.special: list[str] = []

    def warn(self) -> None:
        if self.special:
            names = _some(self.special)
            logger.warning("%s: ignoring %d pipes, sockets or devices: %s", self.root, len(self.special), names)
        if self.links:
            logger.warning(
                "%s: ignoring %d links to folders outside of it: %s; set follow_links: true to follow them",
                self.root,
                len(self.links),
                _some(self.links),
            )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise ValueError(f"the folder {folder} cannot be listed: {error.strerror}") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _size(entry: os.DirEntry[str]) -> int | None:
    """Return the bytes of a regular file, -1 for a broken link, None for anything else."""
    try:
        status = entry.stat()
    except OSError:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else None
