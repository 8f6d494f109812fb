"""Tables in CSV files as a data set."""

from __future__ import annotations

import csv
import functools
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from omnimask.interfaces import Context
from omnimask.remote import CacheOptions
from omnimask_datasets.byte_ranges import UTF8_MARK, BadLine, find_ranges, line_by_line
from omnimask_datasets.rows import RangeRows, check_column
from omnimask_datasets.sources import CACHE, INSTEAD, Source, all_unpacked, extension_of, sources_at

csv.field_size_limit(2**31 - 1)  # without this a cell of more than 128 KiB is an error

_TABS = (".tsv", ".tab")
_HEADER_LINES = 1000
"""Lines to search for the column names, since blank lines may come first."""
_MANY_LINES = 10
_REMEDY = "close it, or read cells without quotes (quote: null)"


class Csv(RangeRows):
    """Rows of one CSV file, or of a folder's files that end in .csv, .tsv or .tab (optionally with .gz), in UTF-8.

    The first line of every file names the columns. A sample contains every cell as text, by column. Quoted cells may contain
    delimiters and line ends. An unclosed quote would swallow rows, so it is an error that names file and line. Blank lines are
    skipped. Rows are read individually, whatever the file's size. Packed files are unpacked into the cache.

    Args:
        path: a folder, or one file with any ending.
        url: instead of a path, a URL for ``fsspec`` (``https://host/rows.csv``, ``s3://bucket/folder``, ``gs://bucket/a-*.csv``).
            Files are copied into a cache on their first read.
        cache: location and size of the copies, timeouts and retries.
        key: column with the samples' keys; null: the keys are file and line.
        labels: column of the field ``label``; null: the column ``label`` if it exists.
        delimiter: one character between cells; null: a tab if files end in .tsv or .tab, else a comma.
        quote: the character around quoted cells; null: quotes have no meaning, and every line is a row.
        cell_lines: most line ends in a quoted cell; beyond them its quote counts as unclosed.
        follow_links: whether to follow links to folders outside of a folder. Links to files are always followed.
    """

    extensions: ClassVar[tuple[str, ...]] = (".csv", *_TABS)
    instead_of: ClassVar[Mapping[str, str]] = INSTEAD

    def __init__(
        self,
        context: Context,
        *,
        path: Path | None = None,
        url: str | None = None,
        cache: CacheOptions = CACHE,
        key: str | None = None,
        labels: str | None = None,
        delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None,
        quote: Annotated[str, Field(min_length=1, max_length=1)] | None = '"',
        cell_lines: Annotated[int, Field(ge=1)] = 1000,
        follow_links: bool = False,
    ) -> None:
        del context
        sources = all_unpacked(sources_at(path, url, cache, self.extensions, follow_links=follow_links))
        self.form = Form(delimiter or _delimiter(sources, path or url), quote)
        self.headers = {source.name: _header(source, self.form) for source in sources}
        for name, header in self.headers.items():
            check_column(key, header, name)
            check_column(labels, header, name)
        scan = functools.partial(by_row, form=self.form, most_lines=cell_lines)
        ranges = find_ranges(sources, line_by_line(scan), f"csv {self.form} {cell_lines}")
        if not len(ranges):
            raise ValueError(f"{path or url} has a header but no rows")
        super().__init__(ranges, key, labels)

    def parse(self, index: int, data: bytes) -> dict[str, Any]:
        """Return the cells of a row, by column."""
        header, cells = self.headers[self.ranges.source(index).name], self.form.cells(data)
        if len(cells) != len(header):
            raise ValueError(f"the row has {len(cells)} cells, but the header has {len(header)} columns")
        return dict(zip(header, cells, strict=True))


@dataclass(frozen=True)
class Form:
    """Form of a CSV file: its delimiter and its quote (None: cells are not quoted)."""

    delimiter: str
    quote: str | None

    def reader(self, lines: Iterable[str]) -> Any:
        """Return Python's CSV reader, in strict mode."""
        quoting = csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE
        return csv.reader(lines, delimiter=self.delimiter, quotechar=self.quote or '"', quoting=quoting, strict=True)

    def cells(self, data: bytes) -> list[str]:
        """Return the single row in ``data``. Raise ``ValueError`` if it is invalid UTF-8 or breaks the rules of quoting."""
        try:
            return next(self.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
        except csv.Error as error:
            raise ValueError(f"invalid CSV row: {error}") from error


def by_row(lines: Iterable[bytes], *, form: Form, most_lines: int) -> Iterator[tuple[int, int, int]]:
    """Yield (start, stop, line) of the rows of a table, except for the first, which names the columns.

    A one-line row with invalid quoting is yielded too; reading it fails again.

    Raises:
        BadLine: a quoted cell swallows the lines behind it.
    """
    place = count = 0
    row: list[str] = []

    def texts() -> Iterator[str]:
        nonlocal place, count
        for line in lines:
            place, count = place + len(line), count + 1
            row.append((line.removeprefix(UTF8_MARK) if count == 1 else line).decode("latin-1"))
            if len(row) > most_lines + 1:
                raise _Swallowed(f"a quoted cell spans more than {most_lines:,} lines")
            yield row[-1]

    # Latin-1 decodes any byte, so invalid UTF-8 fails one row instead of the file: quotes, delimiters and line ends are ASCII.
    reader = form.reader(texts())
    width = 0
    while True:
        row.clear()
        start, line = place, count + 1
        try:
            cells: list[str] | None = next(reader)
        except StopIteration:
            return
        except _Swallowed as error:
            raise BadLine(line, f"{error}; {_REMEDY}, or raise cell_lines") from error
        except csv.Error as error:
            cells = None
            if len(row) > 1 or "unexpected end" in str(error):
                raise BadLine(line, f"unclosed quote in {_lines(row)} of the row ({error}); {_REMEDY}") from error
        if len(row) > 1 and _holds_rows(row, width, form.delimiter):
            raise BadLine(line, f"a quoted cell contains {_lines(row)} that look like rows; {_REMEDY}")
        if cells != []:
            if width:
                yield start, place, line
            width = width or len(cells or ())


class _Swallowed(Exception):
    """Row with more lines than allowed."""


def _holds_rows(lines: Sequence[str], width: int, delimiter: str) -> bool:
    """Return whether the lines of one row look like rows themselves, by their number of delimiters.

    With tabs all lines must match; with other delimiters at least 90 % of ten or more lines, since prose contains commas too.
    """
    if width < 2:
        return False
    are_rows = [line.count(delimiter) == width - 1 for line in lines]
    return all(are_rows) if delimiter == "\t" else len(lines) >= _MANY_LINES and sum(are_rows) >= 0.9 * len(lines)


def _lines(row: Sequence[str]) -> str:
    return "the 1 line" if len(row) == 1 else f"the {len(row):,} lines"


def _header(source: Source, form: Form) -> list[str]:
    try:
        with source.open() as stream:
            lines = (line.decode("utf-8-sig") for line in itertools.islice(stream, _HEADER_LINES))
            header = next((cells for cells in form.reader(lines) if cells), None)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the header of {source.name} cannot be read: {error}") from error
    except csv.Error as error:
        message = f"the header of {source.name} cannot be read: {error}, in its first lines; {_REMEDY}"
        raise ValueError(message) from error
    if header is None:
        raise ValueError(f"{source.name} is empty; the first line must be a header")
    names = [name.strip() for name in header]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{source.name}: duplicate column {doubled[0]!r}")
    return names


def _delimiter(sources: Sequence[Source], place: object) -> str:
    is_tab = {extension_of(source.name) in _TABS for source in sources}
    if len(is_tab) > 1:
        raise ValueError(
            f"{place} contains both comma-separated and tab-separated files; set delimiter, or give the path of one kind"
        )
    return "\t" if is_tab == {True} else ","
