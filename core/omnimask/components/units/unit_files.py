"""Text files of units of ids, and their cache. A file has three lines that begin with ``#``, then one unit per line."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

from omnimask.cache import cache_folder, keep
from omnimask.interfaces import Corpus, Tokens

logger = logging.getLogger(__name__)

T = TypeVar("T")


def cached_units(folder: str, key: str, read: Callable[[Path], T], find: Callable[[], T], to_bytes: Callable[[T], bytes]) -> T:
    """Return the units of a cached file, or find and cache them.

    Args:
        folder: of the file, in the cache folder; names the units in warnings.
        key: of all that determines the units; a digest of it names the file.
        read: returns a file's units, or raises ``ValueError`` if it is damaged; they are then found again.
        find: returns the units of the training samples.
        to_bytes: returns the content of the file.
    """
    file = cache_folder() / folder / f"{blake2b(key.encode(), digest_size=16).hexdigest()}.txt"
    if file.exists():
        try:
            return read(file)
        except ValueError as error:
            logger.warning("recomputing the cached %s: %s", folder, error)
    units = find()
    keep(file, lambda stream: stream.write(to_bytes(units)), folder)
    return units


def first_samples(corpus: Corpus, max_tokens: int) -> Iterator[Tokens]:
    """Yield samples, the last of which reaches ``max_tokens`` in total."""
    total = 0
    for tokens in corpus:
        yield tokens
        total += len(tokens)
        if total >= max_tokens:
            return


def read_unit_file(
    path: Path, first_line: str, what: str, count_of: str, column: str
) -> tuple[int, list[tuple[str, tuple[int, ...]]]]:
    """Return the declared vocabulary, and for each unit the number before the tab, as written, and its ids.

    Args:
        path: of the file, in ASCII: ``first_line``, ``# vocabulary N``, ``# <count_of> N``, then ``NUMBER TAB ID ID ...``.
        first_line: names the format and its version.
        what: expected content of the file, for messages.
        count_of: name of the number of units declared in the third line.
        column: name of the number before the tab, for messages.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged or in another format; the message names the line.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a {what}: {error}") from error
    if not lines or lines[0] != first_line:
        shown = lines[0][:60] if lines else "nothing"
        raise ValueError(f"{path} is not a supported {what}: it begins with {shown!r} instead of {first_line!r}")
    vocabulary, count = (_declared(path, lines, number, name) for number, name in ((2, "vocabulary"), (3, count_of)))
    rows = [_row(path, number, line, column) for number, line in enumerate(lines[3:], start=4)]
    if len(rows) != count:
        raise ValueError(f"{path} is truncated or was changed: it declares {count} {count_of} but has {len(rows)}")
    return vocabulary, rows


def _declared(path: Path, lines: Sequence[str], number: int, name: str) -> int:
    words = lines[number - 1].split() if len(lines) >= number else []
    if words[:2] != ["#", name] or len(words) != 3 or not words[2].isdecimal():
        raise ValueError(f"{path}:{number}: must be '# {name} NUMBER'")
    return int(words[2])


def _row(path: Path, number: int, line: str, column: str) -> tuple[str, tuple[int, ...]]:
    try:
        text, ids = line.split("\t")
        float(text)
        return text, tuple(map(int, ids.split()))
    except ValueError as error:
        raise ValueError(f"{path}:{number}: must be '{column} TAB ID ID ...', not {line[:60]!r}") from error
