"""Tests of windows of long series: contents, and joint hold-out."""

from itertools import combinations

import numpy as np
import pytest

from omnimask.interfaces import Context
from omnimask_timeseries.data import CsvWindows, Stocks, read_table
from omnimask_timeseries.synthetic import PERIODS, Seasons


@pytest.fixture
def table(tmp_path):
    def write(text):
        (tmp_path / "table.csv").write_text(text, encoding="utf-8")
        return tmp_path / "table.csv"

    return write


def test_columns_of_numbers_are_the_channels(table) -> None:
    names, series = read_table(table("# from a plant\ndate,load,note,flow\n2024,1,hot,\n2025,-2e1,cold,NA\n\n2026,,,3.5\n"), None)
    assert names == ["date", "load", "flow"]
    np.testing.assert_array_equal(series, [[2024, 1, np.nan], [2025, -20, np.nan], [2026, np.nan, 3.5]])
    assert read_table(table("a,b\n1,2\n3,4"), ["b"])[1].tolist() == [[2], [4]]


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("a,b\n1,2\n3", None, r"table.csv:3: 1 cells.*2 columns"),
        ("a,b\n1,2\n3,x", ["b"], r"table.csv:3: 'x' in column 'b' is not a finite number"),
        ("a,b\n1,2", ["c"], r"no column 'c'; it has a, b"),
        ("a,b\nx,y", None, "no column of numbers"),
        ("a,b\n1,inf", ["b"], "is not a finite number"),
        ("a,b", None, "holds no table"),
        ("", None, "holds no table"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(table, text, columns, message) -> None:
    with pytest.raises(ValueError, match=message):
        read_table(table(text), columns)


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"nothing\.csv cannot be read"):
        CsvWindows(Context(), path=tmp_path / "nothing.csv")


def test_windows_lie_inside_stretches(table) -> None:
    path = table("a,b\n" + "\n".join(f"{n},{n * 10}" for n in range(25)))
    windows = CsvWindows(Context(), path=path, length=4, stretch=10, stride=3)
    assert [windows.key(i) for i in range(len(windows))] == [f"table.csv/{s}" for s in (0, 3, 6, 10, 13, 16, 20)]
    assert windows.whole(2) != windows.whole(3)
    single = CsvWindows(Context(), path=path, length=4, split_channels=True)
    assert single.key(1) == "table.csv/0/b" and single[1]["timeseries"].tolist() == [[0], [10], [20], [30]]
    assert single.whole(0) == single.whole(1)
    with pytest.raises(ValueError, match="stretch of 3 values holds no sample of length 4"):
        CsvWindows(Context(), path=path, length=4, stretch=3)
    with pytest.raises(ValueError, match="25 values, fewer than a sample of length 26"):
        CsvWindows(Context(), path=path, length=26)


def test_no_month_is_in_two_stretches() -> None:
    stocks = Stocks(Context())
    months: dict[str, set[int]] = {}
    for place, whole in zip(stocks.places, map(stocks.whole, range(len(stocks))), strict=True):
        months.setdefault(whole, set()).update(range(place.start, place.start + stocks.length))
    assert len(months) == 4
    assert all(not one & other for one, other in combinations(months.values(), 2))


def test_stocks_are_real_and_have_gaps() -> None:
    stocks = Stocks(Context(), length=391, stretch=391, split_channels=False)
    (sample,) = [stocks[i]["timeseries"] for i in range(len(stocks))]
    missing = dict(zip(stocks.names, np.isnan(sample).sum(0).tolist(), strict=True))
    assert {name for name, count in missing.items() if count} == {"AMZN", "DELL", "GOOGL"}
    assert np.exp(sample[0, 0]) == pytest.approx(10.97, abs=0.01)
    single = Stocks(Context())
    assert not any(np.isnan(single[i]["timeseries"]).all() for i in range(len(single)))


def test_seasons_have_their_period() -> None:
    samples = [Seasons(Context(), size=64)[index] for index in range(64)]
    assert sum(bool(np.isnan(sample["timeseries"]).any()) for sample in samples) == 32
    similar = []
    for sample in samples:
        whole = sample["timeseries"][:, ~np.isnan(sample["timeseries"]).any(0)]
        period = PERIODS[sample["label"]]
        similar.append(np.corrcoef(whole[period:, 0], whole[:-period, 0])[0, 1])
    assert np.median(similar) > 0.9 and min(similar) > 0.5
