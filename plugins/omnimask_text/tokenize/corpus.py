"""Text files as a stream of chunks that fit into memory. Imports neither torch nor a library of tokenizers."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from omnimask.files import endings, log_left_out, walk
from omnimask_datasets.sources import PACKED

EXTENSIONS = (".txt", ".text", ".md", ".markdown", ".rst", ".tex", ".org", ".adoc")
"""Endings of text files."""
_CHUNK = 1 << 16
"""Number of characters to read at once; chunks end at line breaks if lines are shorter."""


@dataclass(frozen=True)
class TextCorpus:
    """The text of files in UTF-8, in a fixed order. Calling it yields chunks of whole lines, of about 64 thousand characters."""

    files: tuple[Path, ...]

    def __call__(self) -> Iterator[str]:
        """Yield chunks of text.

        Raises:
            ValueError: a file cannot be read, or is not UTF-8; the message names the file and the byte.
        """
        for file in self.files:
            yield from _chunks(file)


def find_corpus(path: Path) -> TextCorpus:
    """Return one file of any name, or the text files of a folder and its sub-folders. Those ending in ``.gz`` are unpacked.

    Raises:
        ValueError: the file or folder is missing, or the folder holds no text files.
    """
    path = path.expanduser()
    if path.is_file():
        return TextCorpus((path,))
    if not path.is_dir():
        raise ValueError(f"{path} does not exist (looked in {Path.cwd()})")
    names = sorted(name for name, _ in walk(path))
    chosen = [name for name in names if PurePosixPath(name.lower().removesuffix(PACKED)).suffix in EXTENSIONS]
    if not chosen:
        others = f"found {len(names)} other files: {endings(names)}" if names else "it contains no files"
        raise ValueError(f"the folder {path} contains no files ending in {', '.join(EXTENSIONS)}; {others}")
    log_left_out(path, len(chosen), sorted({*names} - {*chosen}))
    return TextCorpus(tuple(path / name for name in chosen))


def _chunks(file: Path) -> Iterator[str]:
    try:
        with _opened(file) as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline=None) as lines:
            while text := lines.read(_CHUNK):
                yield text + lines.readline(_CHUNK)
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8: byte {_place(file)} ({error.reason}); convert it first") from error
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _opened(file: Path) -> IO[bytes]:
    return gzip.open(file) if file.suffix.lower() == PACKED else file.open("rb")  # pyright: ignore[reportReturnType]


def _place(file: Path) -> int:
    """Return the position of the first byte that is not UTF-8; a stream's error counts from the beginning of its buffer."""
    decoder, place = codecs.getincrementaldecoder("utf-8")(), 0
    with _opened(file) as stream:
        while data := stream.read(_CHUNK):
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(data)
            except UnicodeDecodeError as error:
                return place - pending + error.start
            place += len(data)
    return place
