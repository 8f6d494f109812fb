"""Text files as a stream of pieces that fit into memory. Imports neither torch nor a library of tokenizers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from omnimask.data.walk import endings, walk

EXTENSIONS = (".txt", ".text", ".md", ".rst")
"""Endings of the files in a folder that are text."""
_CHUNK = 1 << 16
"""Characters that are held at once; a chunk ends with a line where lines are shorter."""


@dataclass(frozen=True)
class Corpus:
    """The text of files in UTF-8, in a fixed order; calling it gives chunks of whole lines, of 64 thousand characters or so."""

    files: tuple[Path, ...]

    def __call__(self) -> Iterator[str]:
        """Chunks of text.

        Raises:
            ValueError: a file cannot be read, or is not UTF-8; it names the file and the byte.
        """
        for file in self.files:
            yield from _chunks(file)


def find_corpus(path: Path) -> Corpus:
    """One file of any name, or the text files of a folder and its sub-folders.

    Raises:
        ValueError: there is no such file or folder, or the folder holds no text files.
    """
    path = path.expanduser()
    if path.is_file():
        return Corpus((path,))
    if not path.is_dir():
        raise ValueError(f"there is no file or folder {path} (looked in {Path.cwd()})")
    names = sorted(name for name, _ in walk(path))
    chosen = [name for name in names if PurePosixPath(name).suffix.lower() in EXTENSIONS]
    if not chosen:
        others = f"found {len(names)} other files: {endings(names)}" if names else "it holds no files"
        raise ValueError(f"the folder {path} holds no files ending in {', '.join(EXTENSIONS)}; {others}")
    return Corpus(tuple(path / name for name in chosen))


def _chunks(file: Path) -> Iterator[str]:
    try:
        with file.open(encoding="utf-8-sig", newline=None) as stream:
            while text := stream.read(_CHUNK):
                yield text + stream.readline(_CHUNK)
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8: {_place(file)} ({error.reason}); convert it first") from error
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror or error}") from error


def _place(file: Path) -> str:
    """The first byte that is not UTF-8; a stream counts from the beginning of a buffer."""
    try:
        file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        return f"byte {error.start}"
    return "a byte"
