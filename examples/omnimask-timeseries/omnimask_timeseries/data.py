"""Windows of long series that were measured. N samples, n values, C channels."""

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
"""Cells that say that nothing was measured, in lower case."""
_STOCKS = "Stocks.csv"


@dataclass(frozen=True)
class Place:
    """Where a sample lies: values from ``start`` on, of one ``channel`` or of all (None), in the stretch numbered ``stretch``."""

    stretch: int
    start: int
    channel: int | None


class Windows:
    """Samples of ``length`` values each out of one long series; base of the data sets below.

    The series is cut into stretches. A sample lies in one stretch, and stretches are held out as a whole, so that no value is in a
    training sample and in a held-out one. Samples in which nothing was measured are left out.

    Args:
        series: (n, C), NaN where a value is missing.
        names: of the channels.
        prefix: of the keys.
        length: values of a sample.
        stretch: values of a stretch; None: ``length``, so that samples do not overlap.
        stride: values between the starts of two samples of a stretch; None: ``length``.
        split_channels: whether every channel is a sample of its own.
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
            raise ValueError(f"{prefix} has {len(series)} values, fewer than a sample of length {length}")
        self.series, self.names, self.prefix, self.length = series, tuple(names), prefix, length
        channels = range(series.shape[1]) if split_channels else (None,)
        places = [Place(s, start, c) for s, start in _starts(len(series), length, stretch, stride) for c in channels]
        self.places = [place for place in places if not np.isnan(self._values(place)).all()]

    def _values(self, place: Place) -> NDArray[np.float64]:
        """(length, C), or (length, 1) of one channel."""
        part = self.series[place.start : place.start + self.length]
        return part if place.channel is None else part[:, place.channel : place.channel + 1]

    def __len__(self) -> int:
        return len(self.places)

    def key(self, index: int) -> str:
        """The place in the series, and the channel's name where channels are samples of their own."""
        place = self.places[index]
        name = "" if place.channel is None else f"/{self.names[place.channel]}"
        return f"{self.prefix}/{place.start}{name}"

    def whole(self, index: int) -> str:
        """The stretch that a sample belongs to: all of it is held out, or nothing."""
        return f"{self.prefix}/stretch-{self.places[index].stretch}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        """``timeseries`` (length, C), or (length, 1) where channels are samples of their own."""
        return {"timeseries": self._values(self.places[index])}

    def fingerprint(self) -> str:
        """Digest of all values and of where the samples lie."""
        digest = blake2b(self.series.tobytes(), digest_size=16)
        digest.update(repr((self.length, self.names, self.places)).encode())
        return digest.hexdigest()


def _starts(total: int, length: int, stretch: int, stride: int) -> Iterable[tuple[int, int]]:
    """Number of the stretch and first value of every sample; the last stretch may be shorter."""
    for number, first in enumerate(range(0, total, stretch)):
        last = min(first + stretch, total) - length
        yield from ((number, start) for start in range(first, last + 1, stride))


class CsvWindows(Windows):
    """A table of measurements as a series: a line for every point in time, a column for every channel.

    The first line names the columns. Those whose cells are all numbers, or empty, are the channels; others, a date say, are left
    out. An empty cell (also NA, NaN, null) is a missing value.

    Args:
        path: the CSV file, in UTF-8.
        length: values of a sample.
        columns: the channels, in this order; null: all columns of numbers.
        stretch: values of a stretch, which is held out as a whole; null: as many as a sample has.
        stride: values between the starts of two samples of a stretch; null: as many as a sample has.
        split_channels: whether every channel is a sample of its own, which knows nothing of the others.
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
    """Logarithms of the monthly prices of eight stocks and two indices, 1990 to 2022: real numbers that need no download.

    They come with matplotlib (``Stocks.csv`` of its sample data, from Yahoo Finance). Amazon, Google and Dell have prices from
    1997, 2004 and 2016 on: before, they are truly missing.

    Args:
        length: months of a sample.
        stretch: months of a stretch, which is held out as a whole.
        stride: months between the starts of two samples of a stretch.
        split_channels: whether every stock is a sample of its own.
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
        months = series[~np.isnan(series).all(axis=1)]  # lines without any price say that a dividend was paid
        super().__init__(
            np.log(months), names, "stocks", length=length, stretch=stretch, stride=stride, split_channels=split_channels
        )


def read_table(path: Path, columns: Sequence[str] | None) -> tuple[list[str], NDArray[np.float64]]:
    """Names (C,) and values (n, C) of a CSV file's columns of numbers.

    Raises:
        ValueError: it cannot be read, has other columns, or a cell of a chosen column is no number; with the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            numbered = [(number, line) for number, line in enumerate(file, start=1) if line.strip() and not line.startswith("#")]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    rows = list(csv.reader(line for _, line in numbered))
    if len(rows) < 2:
        raise ValueError(f"{path} holds no table: a line with the columns' names, and a line for every point in time")
    header = [name.strip() for name in rows[0]]
    lines = [number for number, _ in numbered][1:]
    for line, row in zip(lines, rows[1:], strict=True):
        if len(row) != len(header):
            raise ValueError(f"{path}:{line}: {len(row)} cells, and the first line names {len(header)} columns")
    unknown = sorted(set(columns or ()) - set(header))
    if unknown:
        raise ValueError(f"{path} has no column {unknown[0]!r}; it has {', '.join(header)}")
    cells = {name: [row[index].strip() for row in rows[1:]] for index, name in enumerate(header)}
    chosen = list(columns) if columns else [name for name in header if _is_numeric(cells[name])]
    if not chosen:
        raise ValueError(f"{path} has no column of numbers; its columns are {', '.join(header)}")
    return chosen, np.stack([_parsed(cells[name], lines, f"{path}", name) for name in chosen], axis=1)


def _is_numeric(cells: Sequence[str]) -> bool:
    """Whether there are numbers among the cells, and nothing else but missing ones."""
    return all(_number(cell) is not None for cell in cells) and not all(cell.lower() in MISSING for cell in cells)


def _parsed(cells: Sequence[str], lines: Sequence[int], path: str, name: str) -> NDArray[np.float64]:
    values = [_number(cell) for cell in cells]
    for line, cell, value in zip(lines, cells, values, strict=True):
        if value is None:
            raise ValueError(f"{path}:{line}: {cell!r} in column {name!r} is no number")
    return np.array(values, np.float64)


def _number(cell: str) -> float | None:
    """NaN where the value is missing, None for a cell that is not a finite number."""
    if cell.lower() in MISSING:
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
