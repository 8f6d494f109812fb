"""The files of a folder and its sub-folders. Imports no torch."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath


def walk(root: Path) -> Iterator[tuple[str, int]]:
    """Relative posix path and size of every file that is not hidden; -1 is the size of a link that leads nowhere.

    Hidden folders are left out; links are followed, except back to a folder that contains them.

    Raises:
        ValueError: a folder cannot be listed.
    """
    folders: list[tuple[Path, str, frozenset[Path]]] = [(root, "", frozenset({root.resolve()}))]
    while folders:
        folder, prefix, above = folders.pop()
        for entry in _entries(folder):
            if entry.name.startswith("."):
                continue
            if not entry.is_dir():
                yield prefix + entry.name, _size(entry)
            elif (real := Path(entry.path).resolve()) not in above:
                folders.append((Path(entry.path), f"{prefix}{entry.name}/", above | {real}))


def endings(names: Sequence[str], most: int = 5) -> str:
    """The most frequent endings of files, with their numbers: ``12 with .txt, 3 with no extension``."""
    counted = Counter(PurePosixPath(name).suffix.lower() or "no extension" for name in names)
    return ", ".join(f"{number} with {ending}" for ending, number in counted.most_common(most))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise ValueError(f"the folder {folder} cannot be listed: {error.strerror}") from error


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        return -1
