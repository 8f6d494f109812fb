"""Data set of the rows of a CSV file."""

import csv
from hashlib import blake2b
from pathlib import Path
from typing import Any

from omnimask.interfaces import Context
from omnimask_tabular.schema import Cell

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
"""Lower-case texts of cells with a missing value."""


class CsvTable:
    """Rows of a CSV file. The first line names the columns.

    An empty cell (also NA, NaN, null, none, ?) is a missing value. The tokenizer defines the types of the columns.

    Args:
        path: the file, in UTF-8.
        key_column: column with the names of the rows; null: their numbers. Names determine the held-out rows. Unlike numbers, they
            do not change when rows are added elsewhere.
        label_column: column with the labels of the rows, for probes; it is excluded from the cells.
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
            raise ValueError(f"{path}: two rows are called {twice!r}; choose another key_column or none")
        self.cells = [index for index, name in enumerate(self.names) if name not in (key_column, label_column)]

    def __len__(self) -> int:
        return len(self.rows)

    def key(self, index: int) -> str:
        """Return ``FILE/ROW``: the file's name, and the row's name or number."""
        return self.keys[index]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return ``tabular``, texts by column with None for missing values, and ``label`` if there is a label column."""
        row = self.rows[index]
        sample: dict[str, Any] = {"tabular": {self.names[column]: cell(row[column]) for column in self.cells}}
        if self.label_column is not None:
            sample["label"] = cell(row[self.names.index(self.label_column)])
        return sample

    def fingerprint(self) -> str:
        """Return a digest of column names, keys and rows."""
        return blake2b(repr((self.names, self.keys, self.rows)).encode(), digest_size=16).hexdigest()


def cell(text: str) -> Cell:
    """Return a cell's text, or None for a missing value."""
    return None if text.lower() in MISSING else text


def read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return the names of the columns, and the texts of every row.

    Raises:
        ValueError: the file cannot be read or is not a table. The message names the invalid line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            found = [(reader.line_num, [text.strip() for text in row]) for row in reader if any(text.strip() for text in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if len(found) < 2:
        raise ValueError(f"{path} holds no table; expected a line with the columns' names, and a line for each row")
    (_, names), *rows = found
    if len(set(names)) < len(names) or "" in names:
        raise ValueError(f"{path}:1: every column needs a name of its own; found {names}")
    for line, row in rows:
        if len(row) != len(names):
            raise ValueError(f"{path}:{line}: {len(row)} cells, but the first line has {len(names)} columns")
    return names, [row for _, row in rows]
