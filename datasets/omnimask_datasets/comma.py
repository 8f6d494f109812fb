"""Tables in CSV files as a data set."""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from omnimask.interfaces import Context
from omnimask_datasets.ranges import find_ranges
from omnimask_datasets.rows import RangeRows, check_column
from omnimask_datasets.sources import Source, extension_of, find_sources, unpacked

csv.field_size_limit(2**31 - 1)  # without this a cell of more than 128 KiB is an error

_TABS = (".tsv", ".tab")
_UTF8_MARK = b"\xef\xbb\xbf"


class Csv(RangeRows):
    """The rows of a file, or of the files of a folder that end in .csv, .tsv, .tab or these and .gz, in UTF-8.

    The first line of every file names the columns; gives every cell as text, by column. Cells in double quotes may hold
    delimiters and line ends. Blank lines are left out. Rows are read one by one, whatever the file's size; packed files are
    unpacked into the cache.

    Args:
        path: a folder, or one file, whatever it ends in.
        key: the column whose values name the samples; null: they are named by file and line.
        labels: the column that the field ``label`` comes from; null: the column ``label``, where there is one.
        delimiter: one character between cells; null: a tab where files end in .tsv or .tab, else a comma.
    """

    extensions: ClassVar[tuple[str, ...]] = (".csv", *_TABS)

    def __init__(
        self,
        context: Context,
        *,
        path: Path,
        key: str | None = None,
        labels: str | None = None,
        delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None,
    ) -> None:
        del context
        sources = [unpacked(source) for source in find_sources(path, self.extensions)]
        self.delimiter = delimiter or _delimiter(sources, path)
        self.headers = {source.name: _header(source, self.delimiter) for source in sources}
        for name, header in self.headers.items():
            check_column(key, header, name)
            check_column(labels, header, name)
        ranges = find_ranges(sources, functools.partial(by_row, delimiter=self.delimiter), f"csv {self.delimiter!r}")
        if not len(ranges):
            raise ValueError(f"{path} has no rows below the names of its columns")
        super().__init__(ranges, key, labels)

    def parse(self, index: int, data: bytes) -> dict[str, Any]:
        """The cells of a row, by column."""
        header, cells = self.headers[self.ranges.source(index).name], _cells(data, self.delimiter)
        if len(cells) != len(header):
            raise ValueError(f"the row has {len(cells)} cells, and the file's first line names {len(header)} columns")
        return dict(zip(header, cells, strict=True))


def by_row(lines: Iterable[bytes], *, delimiter: str) -> Iterator[tuple[int, int, int]]:
    """Where the rows of a table lie, without the first one, which names the columns: (start, stop, line).

    A row that breaks the rules of quoting is one too; reading it fails again.
    """
    place = count = 0

    def texts() -> Iterator[str]:
        nonlocal place, count
        for line in lines:
            place, count = place + len(line), count + 1
            yield (line.removeprefix(_UTF8_MARK) if count == 1 else line).decode("latin-1")

    # Bytes that are no UTF-8 make one row bad, and not the whole file: quotes, delimiters and line ends are ASCII.
    reader = csv.reader(texts(), delimiter=delimiter, strict=True)
    is_header = True
    while True:
        start, line = place, count + 1
        try:
            is_row = bool(next(reader))
        except StopIteration:
            return
        except csv.Error:
            is_row = True
        if is_row and not is_header:
            yield start, place, line
        is_header = is_header and not is_row


def _cells(data: bytes, delimiter: str) -> list[str]:
    """The one row in ``data``, which may be no UTF-8 or break the rules of quoting (``ValueError``)."""
    try:
        return next(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise ValueError(f"the row breaks the rules of CSV: {error}") from error


def _header(source: Source, delimiter: str) -> list[str]:
    try:
        with source.path.open("rb") as stream:
            lines = (line.decode("utf-8-sig") for line in stream)
            header = next((cells for cells in csv.reader(lines, delimiter=delimiter, strict=True) if cells), None)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"the names of the columns of {source.name} cannot be read: {error}") from error
    if header is None:
        raise ValueError(f"{source.name} is empty; its first line must name its columns")
    names = [name.strip() for name in header]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{source.name}: the column {doubled[0]!r} comes twice")
    return names


def _delimiter(sources: Sequence[Source], path: Path) -> str:
    is_tab = {extension_of(source.name) in _TABS for source in sources}
    if len(is_tab) > 1:
        raise ValueError(f"{path} holds files with commas and files with tabs; give delimiter, or the path of one kind")
    return "\t" if is_tab == {True} else ","
