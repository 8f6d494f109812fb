"""Text files of units of ids: three lines that begin with ``#``, then one unit per line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


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
