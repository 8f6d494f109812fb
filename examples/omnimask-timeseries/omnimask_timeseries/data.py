"""Data sets of windows from long measured series. N samples, n values, C channels."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.interfaces import Context

Positive = Annotated[int, Field(gt=0)]
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "-"})
"""Lower-case texts of cells with a missing value."""
_STOCKS = "Stocks.csv"


@dataclass(frozen=True)
class Place:
    """Location of a sample: values from ``start`` on, of one ``channel`` or all (None), in the stretch with number ``stretch``."""

    stretch: int
    start: int
    channel: int | None


class Windows:
    """Samples of ``length`` values each from one long series. Base class of the data sets below.

    The series is cut into stretches. Each sample lies within one stretch, and whole stretches are held out, so training samples and
    held-out samples share no values. Samples without any value are left out.

    Args:
        series: (n, C), NaN for missing values.
        names: names of the channels.
        prefix: prefix of the keys.
        length: values in a sample.
        stretch: values in a stretch; None: ``length``, so samples do not overlap.
        stride: values between the starts of consecutive samples in a stretch; None: ``length``.
        split_channels: whether every channel is a separate sample.
    """

    def __init__(
        self,
        series: NDArray[np.float64],
        names: Sequence[str],
        prefix: str,
        *,
        length: int,
        stretch: int | None,
        stride: int | None,
        split_channels: bool,
    ) -> None:
        stretch, stride = stretch or length, stride or length
        if stretch < length:
            raise ValueError(f"a stretch of {stretch} values holds no sample of length {length}; raise stretch")
        if len(series) < length:
            raise ValueError(f"{prefix} has {len(series)} values, fewer than a sample of length {length}; reduce length")
        self.series, self.names, self.prefix, self.length = series, tuple(names), prefix, length
        channels = range(series.shape[1]) if split_channels else (None,)
        places = [Place(s, start, c) for s, start in _starts(len(series), length, stretch, stride) for c in channels]
        self.places = [place for place in places if not np.isnan(self._values(place)).all()]

    def _values(self, place: Place) -> NDArray[np.float64]:
        """Return (length, C) values, or (length, 1) of one channel."""
        part = self.series[place.start : place.start + self.length]
        return part if place.channel is None else part[:, place.channel : place.channel + 1]

    def __len__(self) -> int:
        return len(self.places)

    def key(self, index: int) -> str:
        """Return the start in the series, and the channel's name if channels are separate samples."""
        place = self.places[index]
        name = "" if place.channel is None else f"/{self.names[place.channel]}"
        return f"{self.prefix}/{place.start}{name}"

    def whole(self, index: int) -> str:
        """Return the name of a sample's stretch, which is held out as a whole."""
        return f"{self.prefix}/stretch-{self.places[index].stretch}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return ``timeseries``, (length, C) or (length, 1) if channels are separate samples."""
        return {"timeseries": self._values(self.places[index])}

    def fingerprint(self) -> str:
        """Return a digest of all values and of the samples' locations."""
        digest = blake2b(self.series.tobytes(), digest_size=16)
        digest.update(repr((self.length, self.names, self.places)).encode())
        return digest.hexdigest()


def _starts(total: int, length: int, stretch: int, stride: int) -> Iterable[tuple[int, int]]:
    """Yield number of the stretch and first value of every sample. The last stretch may be shorter."""
    for number, first in enumerate(range(0, total, stretch)):
        last = min(first + stretch, total) - length
        yield from ((number, start) for start in range(first, last + 1, stride))


class CsvWindows(Windows):
    """Windows of a table of measurements, with a line for each point in time and a column for each channel.

    The first line names the columns. Columns of numbers and empty cells are the channels; others, such as a date, are left out. An
    empty cell (also NA, NaN, null) is a missing value.

    Args:
        path: the CSV file, in UTF-8.
        length: values in a sample.
        columns: channels in this order; null: all columns of numbers.
        stretch: values in a stretch, which is held out as a whole; null: the length of a sample.
        stride: values between the starts of consecutive samples in a stretch; null: the length of a sample.
        split_channels: whether every channel is a separate sample, encoded without the others.
    """

    def __init__(
        self,
        context: Context,
        *,
        path: Path,
        length: Positive = 512,
        columns: tuple[str, ...] | None = None,
        stretch: Positive | None = None,
        stride: Positive | None = None,
        split_channels: bool = False,
    ) -> None:
        names, series = read_table(path, columns)
        super().__init__(series, names, path.name, length=length, stretch=stretch, stride=stride, split_channels=split_channels)


class Stocks(Windows):
    """Logarithms of the monthly prices of eight stocks and two indices, 1990 to 2022: real data without a download.

    They come with matplotlib (``Stocks.csv`` of its sample data, from Yahoo Finance). Amazon, Google and Dell have prices from
    1997, 2004 and 2016 on; earlier values are missing.

    Args:
        length: months in a sample.
        stretch: months in a stretch, which is held out as a whole.
        stride: months between the starts of consecutive samples in a stretch.
        split_channels: whether every stock is a separate sample.
    """

    smoke: ClassVar[Any] = {"split_channels": True}

    def __init__(
        self,
        context: Context,
        *,
        length: Positive = 64,
        stretch: Positive = 97,
        stride: Positive = 3,
        split_channels: bool = True,
    ) -> None:
        import matplotlib

        names, series = read_table(Path(matplotlib.get_data_path()) / "sample_data" / _STOCKS, None)
        months = series[~np.isnan(series).all(axis=1)]  # lines without any price record dividends
        super().__init__(
            np.log(months), names, "stocks", length=length, stretch=stretch, stride=stride, split_channels=split_channels
        )


def read_table(path: Path, columns: Sequence[str] | None) -> tuple[list[str], NDArray[np.float64]]:
    """Return names (C,) and values (n, C) of a CSV file's columns of numbers.

    Raises:
        ValueError: the file cannot be read, lacks a chosen column, or has an invalid number in one. The message names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            numbered = [(number, line) for number, line in enumerate(file, start=1) if line.strip() and not line.startswith("#")]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    rows = list(csv.reader(line for _, line in numbered))
    if len(rows) < 2:
        raise ValueError(f"{path} holds no table; expected a line with the columns' names, and a line for each point in time")
    header = [name.strip() for name in rows[0]]
    lines = [number for number, _ in numbered][1:]
    for line, row in zip(lines, rows[1:], strict=True):
        if len(row) != len(header):
            raise ValueError(f"{path}:{line}: {len(row)} cells, but the first line has {len(header)} columns")
    unknown = sorted(set(columns or ()) - set(header))
    if unknown:
        raise ValueError(f"{path} has no column {unknown[0]!r}; it has {', '.join(header)}")
    cells = {name: [row[index].strip() for row in rows[1:]] for index, name in enumerate(header)}
    chosen = list(columns) if columns else [name for name in header if _is_numeric(cells[name])]
    if not chosen:
        raise ValueError(f"{path} has no column of numbers; its columns are {', '.join(header)}")
    return chosen, np.stack([_parsed(cells[name], lines, f"{path}", name) for name in chosen], axis=1)


def _is_numeric(cells: Sequence[str]) -> bool:
    """Return True if all cells are numbers or missing, and at least one is a number."""
    return all(_number(cell) is not None for cell in cells) and not all(cell.lower() in MISSING for cell in cells)


def _parsed(cells: Sequence[str], lines: Sequence[int], path: str, name: str) -> NDArray[np.float64]:
    values = [_number(cell) for cell in cells]
    for line, cell, value in zip(lines, cells, values, strict=True):
        if value is None:
            raise ValueError(f"{path}:{line}: {cell!r} in column {name!r} is not a finite number")
    return np.array(values, np.float64)


def _number(cell: str) -> float | None:
    """Return the number of a cell, NaN for a missing value, or None if the cell is not a finite number."""
    if cell.lower() in MISSING:
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
