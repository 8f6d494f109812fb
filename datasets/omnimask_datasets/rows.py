"""What data sets of rows have in common: a sample is a row, a column may give the keys, another one the labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

from omnimask.files import key_problem, of_one_sample, watched
from omnimask_datasets.byte_ranges import Ranges
from omnimask_datasets.sources import state_of

LABEL = "label"
UNREADABLE: Any = object()
"""In place of a value that cannot be read."""


class Rows(ABC):
    """Base of data sets whose samples are rows.

    Args:
        key: the column whose values name the samples; None: they are named by their place.
        labels: the column that the field ``label`` comes from; None: the column ``label``, where there is one.
    """

    def __init__(self, key: str | None, labels: str | None) -> None:
        self.key_column, self.labels = key, labels
        self._keys = None if key is None else self._unique_keys(key)

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def place(self, index: int) -> str:
        """``file:line`` or the like, which is unique."""

    @abstractmethod
    def row(self, index: int) -> dict[str, Any]:
        """Values by column.

        Raises:
            OSError, ValueError: it cannot be read; the message begins with its place.
        """

    @abstractmethod
    def digest(self) -> str:
        """Of the files' names and contents."""

    @abstractmethod
    def state(self) -> str:
        """Of the files' places, sizes and times, where they are here."""

    def key(self, index: int) -> str:
        """What the key's column says, else the place."""
        return self.place(index) if self._keys is None else self._keys[index]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The row's values by column, and ``label``.

        Raises:
            OSError, ValueError: the row cannot be read, or lacks the column of labels.
        """
        row = self.row(index)
        if self.labels is None:
            return row
        return {**row, LABEL: _value(row, self.labels, self.place(index))}

    def fingerprint(self) -> str:
        """Digest of the files' names and contents, and of the key's column."""
        return blake2b(repr((self.digest(), self.key_column)).encode(), digest_size=16).hexdigest()

    def _values(self, column: str) -> Iterator[Any]:
        """Of every row; :data:`UNREADABLE` for one that cannot be read."""
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
                raise ValueError(f"{self.place(index)}: {column} is {value!r:.60}; a key is a text that is not empty, or a number")
            if (problem := key_problem(key)) is not None:
                raise ValueError(f"{self.place(index)}: {column}: {problem}")
            if (first := places.setdefault(key, index)) != index:
                raise ValueError(
                    f"{self.place(index)}: {column} is {key!r}, as in {self.place(first)}; keys must be unique, or leave out key, "
                    "and rows are named by their place"
                )
        return list(places)


class RangeRows(Rows):
    """Base of data sets whose rows are ranges of bytes.

    Args:
        ranges: where the rows lie.
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
        data = self.ranges.read(index)
        try:
            return self.parse(index, data)
        except MemoryError:
            raise
        except Exception as error:
            raise ValueError(f"{self.place(index)}: {error}") from error

    @abstractmethod
    def parse(self, index: int, data: bytes) -> dict[str, Any]:
        """Values by column of the bytes of one row."""


def file_bytes(value: Any, folder: Path | None = None) -> Any:
    """Return the bytes of a file that a column holds as a mapping of ``bytes`` and ``path``, as Hugging Face writes images and
    sounds; any other value as it is.

    Args:
        value: of one row and column.
        folder: where files may lie that are named instead of held; None: such a mapping stays as it is.

    Raises:
        ValueError: it names a file that lies elsewhere.
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
        raise ValueError(f"it names the file {path} instead of holding its bytes; only files in the library's own cache are read")
    return path.read_bytes()


def check_column(column: str | None, names: list[str], source: str) -> None:
    """Raises ``ValueError`` if a column is asked for that is not among ``names``."""
    if column is not None and column not in names:
        raise ValueError(f"{source} has no column {column!r}; it has {', '.join(names)}")


def _value(row: Mapping[str, Any], column: str, place: str) -> Any:
    if column not in row:
        raise ValueError(f"{place}: it has no column {column!r}; it has {', '.join(row)}")
    return row[column]
