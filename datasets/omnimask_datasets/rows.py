"""Common base of data sets of rows: a sample is a row, and columns may provide its key and label."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

from omnimask.files import key_problem, of_one_sample, watched
from omnimask_datasets.byte_ranges import Ranges
from omnimask_datasets.sources import state_of

LABEL = "label"
"""Field of a sample's class."""
UNREADABLE: Any = object()
"""Placeholder for an unreadable value."""


class Rows(ABC):
    """Base of data sets whose samples are rows.

    Args:
        key: column with the samples' keys; None: the keys are the rows' places.
        labels: column of the field ``label``; None: the column ``label`` if it exists.
    """

    def __init__(self, key: str | None, labels: str | None) -> None:
        self.key_column, self.labels = key, labels
        self._keys = None if key is None else self._unique_keys(key)

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def place(self, index: int) -> str:
        """Return the row's unique place, for example ``file:line``."""

    @abstractmethod
    def row(self, index: int) -> dict[str, Any]:
        """Return the values by column.

        Raises:
            OSError, ValueError: the row cannot be read. The message begins with its place.
        """

    @abstractmethod
    def digest(self) -> str:
        """Return a digest of the files' names and contents."""

    @abstractmethod
    def state(self) -> str:
        """Return a digest of the locations, sizes and times of local files."""

    def key(self, index: int) -> str:
        """Return the value of the key column, or the place without one."""
        return self.place(index) if self._keys is None else self._keys[index]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the row's values by column, and ``label``.

        Raises:
            OSError, ValueError: the row cannot be read, or lacks the label column.
        """
        return self._labeled(index, self.row(index))

    def _labeled(self, index: int, row: dict[str, Any]) -> dict[str, Any]:
        if self.labels is None:
            return row
        return {**row, LABEL: _value(row, self.labels, self.place(index))}

    def fingerprint(self) -> str:
        """Return a digest of the files' names and contents, and of the key column's name."""
        return blake2b(repr((self.digest(), self.key_column)).encode(), digest_size=16).hexdigest()

    def _values(self, column: str) -> Iterator[Any]:
        """Yield the column's value of every row; :data:`UNREADABLE` if it cannot be read."""
        for index in watched(range(len(self)), "reading keys"):
            try:
                with of_one_sample:
                    row = self.row(index)
            except (OSError, ValueError):
                yield UNREADABLE
            else:
                yield _value(row, column, self.place(index))

    def _unique_keys(self, column: str) -> list[str]:
        places: dict[str, int] = {}
        for index, value in enumerate(self._values(column)):
            key = self.place(index) if value is UNREADABLE else str(value)
            is_key = isinstance(value, str | int) and not isinstance(value, bool) and key
            if value is not UNREADABLE and not is_key:
                raise ValueError(f"{self.place(index)}: {column} is {value!r:.60}; a key must be a non-empty string or a number")
            if (problem := key_problem(key)) is not None:
                raise ValueError(f"{self.place(index)}: {column}: {problem}")
            if (first := places.setdefault(key, index)) != index:
                raise ValueError(
                    f"{self.place(index)}: {column} is {key!r}, as in {self.place(first)}; keys must be unique; "
                    "or remove key, and rows are named by their position"
                )
        return list(places)


class RangeRows(Rows):
    """Base of data sets whose rows are byte ranges.

    Args:
        ranges: byte ranges of the rows.
        key, labels: see :class:`Rows`.
    """

    def __init__(self, ranges: Ranges, key: str | None, labels: str | None) -> None:
        self.ranges = ranges
        super().__init__(key, labels)

    def __len__(self) -> int:
        return len(self.ranges)

    def place(self, index: int) -> str:
        return self.ranges.name(index)

    def digest(self) -> str:
        return self.ranges.digest

    def state(self) -> str:
        return state_of(self.ranges.sources)

    def row(self, index: int) -> dict[str, Any]:
        return self._parsed(index, self.ranges.read(index))

    def read_many(self, indices: Sequence[int]) -> Iterator[dict[str, Any] | Exception]:
        """Yield the row of each index with ``label``, or the exception of reading it. Rows are read many at a time."""
        for index, data in zip(indices, self.ranges.read_many(indices), strict=True):
            try:
                yield data if isinstance(data, Exception) else self._labeled(index, self._parsed(index, data))
            except (OSError, ValueError) as error:
                yield error

    def _parsed(self, index: int, data: bytes) -> dict[str, Any]:
        try:
            return self.parse(index, data)
        except MemoryError:
            raise
        except Exception as error:
            raise ValueError(f"{self.place(index)}: {error}") from error

    @abstractmethod
    def parse(self, index: int, data: bytes) -> dict[str, Any]:
        """Return the values by column of one row's bytes."""


def file_bytes(value: Any, folder: Path | None = None) -> Any:
    """Return the bytes of a file stored as a mapping of ``bytes`` and ``path``, Hugging Face's form of images and sounds.

    Any other value is returned unchanged.

    Args:
        value: value of one row and column.
        folder: folder of files referenced by path only; None: such a mapping is returned unchanged.

    Raises:
        ValueError: the file lies outside ``folder``.
        OSError: the file cannot be read.
    """
    if not isinstance(value, Mapping) or set(cast(Mapping[str, Any], value)) != {"bytes", "path"}:
        return value
    if value["bytes"] is not None or value["path"] is None:
        return value["bytes"]
    path = Path(value["path"])
    if folder is None:
        return value
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"it refers to the file {path}; only files in the library's cache are read")
    return path.read_bytes()


def check_column(column: str | None, names: list[str], source: str) -> None:
    """Raise ``ValueError`` if the requested column is not among ``names``."""
    if column is not None and column not in names:
        raise ValueError(f"{source} has no column {column!r}; it has {', '.join(names)}")


def _value(row: Mapping[str, Any], column: str, place: str) -> Any:
    if column not in row:
        raise ValueError(f"{place}: no column {column!r}; it has {', '.join(row)}")
    return row[column]
