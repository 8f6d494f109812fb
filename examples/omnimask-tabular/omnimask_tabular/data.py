"""Tables in CSV files. N rows."""

import csv
from hashlib import blake2b
from pathlib import Path
from typing import Any

from omnimask.interfaces import Context
from omnimask_tabular.schema import Cell

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
"""Cells that say that a value is missing, in lower case."""


class CsvTable:
    """The rows of a CSV file, whose first line names the columns.

    An empty cell (also NA, NaN, null, none, ?) is a missing value. What the columns hold is said by the tokenizer.

    Args:
        path: the file, in UTF-8.
        key_column: the column that names a row; null: its number. Names decide what is held out, and do not change when rows are
            added elsewhere; numbers do.
        label_column: the column whose value is a row's label, for probes; it is then no cell of the row.
    """

    def __init__(self, context: Context, *, path: Path, key_column: str | None = None, label_column: str | None = None) -> None:
        self.names, self.rows = read_rows(path)
        for column in (key_column, label_column):
            if column not in (None, *self.names):
                raise ValueError(f"{path} has no column {column!r}; it has {', '.join(self.names)}")
        self.label_column = label_column
        number = None if key_column is None else self.names.index(key_column)
        self.keys = [f"{path.name}/{index if number is None else row[number]}" for index, row in enumerate(self.rows)]
        if len(set(self.keys)) < len(self.keys):
            twice = next(key for key in self.keys if self.keys.count(key) > 1)
            raise ValueError(f"{path}: two rows are called {twice!r}; choose another key_column, or none")
        self.cells = [index for index, name in enumerate(self.names) if name not in (key_column, label_column)]

    def __len__(self) -> int:
        return len(self.rows)

    def key(self, index: int) -> str:
        """The file's name, and the row's."""
        return self.keys[index]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """``tabular``: texts by column, None where a value is missing; ``label``, where there is a column of them."""
        row = self.rows[index]
        sample: dict[str, Any] = {"tabular": {self.names[column]: cell(row[column]) for column in self.cells}}
        if self.label_column is not None:
            sample["label"] = cell(row[self.names.index(self.label_column)])
        return sample

    def fingerprint(self) -> str:
        """Digest of all rows."""
        return blake2b(repr((self.names, self.keys, self.rows)).encode(), digest_size=16).hexdigest()


def cell(text: str) -> Cell:
    """A cell's text, or None where it says that the value is missing."""
    return None if text.lower() in MISSING else text


def read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Names of the columns, and the texts of every row.

    Raises:
        ValueError: the file cannot be read, or is no table; with the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            found = [(reader.line_num, [text.strip() for text in row]) for row in reader if any(text.strip() for text in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if len(found) < 2:
        raise ValueError(f"{path} holds no table: a line with the columns' names, and a line for every row")
    (_, names), *rows = found
    if len(set(names)) < len(names) or "" in names:
        raise ValueError(f"{path}:1: every column needs a name of its own, and they are {names}")
    for line, row in rows:
        if len(row) != len(names):
            raise ValueError(f"{path}:{line}: {len(row)} cells, and the first line names {len(names)} columns")
    return names, [row for _, row in rows]
