"""Tables with the labels of samples and optionally their side of a split. Imports no torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, cast

from omnimask.errors import UserError

Side: TypeAlias = Literal["train", "test"]

KEY_COLUMNS = ("key", "file")
"""Possible key columns, in order of preference."""
_SIDES = ("train", "test")
_MOST = 20
"""Maximum number of problems to list per table."""


@dataclass(frozen=True)
class Row:
    """One row of a table: ``label``, ``split`` (None if unspecified), and its ``line``."""

    label: str
    split: Side | None
    line: int


def read_labels(path: Path) -> dict[str, Row]:
    """Read a CSV file with the columns ``key`` (or ``file``), ``label`` and optionally ``split``. Return rows by key.

    Raises:
        UserError: the file cannot be read, or see :func:`parse_labels`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"the labels {path} cannot be read: {error.strerror or error}") from error
    return parse_labels(data, str(path))


def parse_labels(data: bytes, source: str) -> dict[str, Row]:
    """Parse a CSV table in UTF-8 and return its rows by key. Other columns are ignored.

    Args:
        data: the table; a byte order mark is skipped.
        source: name of the table in messages.

    Raises:
        UserError: with all problems, each with ``source:line``: invalid UTF-8, missing columns, rows without key or label, a
            duplicate key, a split other than train, test or empty.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{source}:{line}: not UTF-8 (byte {data[error.start]:#04x}); save the table as UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: dict[str, Row] = {}
    problems: list[str] = []
    try:
        header = next(reader, [])
        columns = _columns([name.strip() for name in header], source)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                problems += [f"{source}:{reader.line_num}: {problem}" for problem in _add(rows, cells, columns, reader.line_num)]
    except csv.Error as error:
        problems.append(f"{source}:{reader.line_num}: {error}")
    if problems:
        more = [f"and {len(problems) - _MOST} more problems in {source}"] if len(problems) > _MOST else []
        raise UserError(*problems[:_MOST], *more)
    if not rows:
        raise UserError(f"{source}:1: the table has no rows")
    return rows


def unknown_keys(rows: Mapping[str, Row], keys: Sequence[str], source: str, what: str) -> list[str]:
    """Return one message for each of the first rows whose key is not in ``keys``. ``what`` is the kind of a key (``sample``)."""
    known = set(keys)
    unknown = [(key, row.line) for key, row in rows.items() if key not in known]
    found = [f"{source}:{line}: unknown {what} {key!r}" for key, line in unknown[:_MOST]]
    if unknown:
        more = f" ({len(unknown)} of {len(rows)} rows are unknown)" if len(unknown) > 1 else ""
        found.append(f"{source}: keys look like {keys[0]!r}{more}" if keys else f"{source}: there are no keys")
    return found


def _columns(header: Sequence[str], source: str) -> Mapping[str, int]:
    """Return the index of each known column."""
    key = next((name for name in KEY_COLUMNS if name in header), None)
    missing = [] if key else ["key (or file)"]
    missing += [] if "label" in header else ["label"]
    if missing:
        found = ", ".join(header) or "nothing"
        raise UserError(f"{source}:1: the header must contain the columns {' and '.join(missing)}; it has {found}")
    doubled = sorted({name for name in (str(key), "label", "split") if header.count(name) > 1})
    if doubled:
        raise UserError(f"{source}:1: duplicate column {doubled[0]}")
    columns = {"key": header.index(str(key)), "label": header.index("label")}
    return {**columns, "split": header.index("split")} if "split" in header else columns


def _add(rows: dict[str, Row], cells: Sequence[str], columns: Mapping[str, int], line: int) -> Iterator[str]:
    """Add one row, or yield its problems."""
    if len(cells) <= max(columns.values()):
        yield f"the row has {len(cells)} cells, but needs at least {max(columns.values()) + 1}"
        return
    key, label = cells[columns["key"]], cells[columns["label"]].strip()
    split = cells[columns["split"]].strip() if "split" in columns else ""
    if "\n" in key or "\n" in label:
        yield f"the row contains line breaks, from {key[:20]!r} on; an earlier quote may not be closed"
    elif not key:
        yield "the key is empty"
    elif key in rows:
        yield f"duplicate key {key!r}, first in line {rows[key].line}"
    if not label:
        yield f"{key!r} has no label; remove its row"
    if split and split not in _SIDES:
        yield f"split must be train, test, or empty (to skip the sample), got {split!r}"
    if key and label and key not in rows and (not split or split in _SIDES):
        rows[key] = Row(label, cast(Side, split) if split else None, line)
