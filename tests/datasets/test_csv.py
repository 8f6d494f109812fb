"""CSV tables: quoting, headers, keys, labels, bad rows; compared with Python's own reader of whole files."""

from __future__ import annotations

import csv
import gzip
import io
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnimask.interfaces import Context, Dataset
from omnimask.testing import DatasetContract
from omnimask_datasets.csv_files import Csv

from .conftest import write

TABLE = 'id,text,kind\r\n1,"two\nlines, ""quoted""",x\r\n\r\n2,groß,y\r\n'.encode()
BAD = TABLE + b'3,too few\n4,\xff,z\n5,"broken" quote,z\n6,fine,z\n'


def table(path: Path, **options: Any) -> Csv:
    return Csv(Context(), path=path, **options)


class TestCsv(DatasetContract):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.path = write(tmp_path / "here", {"a.csv": TABLE, "b.csv.gz": gzip.compress(b"other\nvalue\n")})
        self.other = write(tmp_path / "other", {"a.csv": TABLE, "b.csv.gz": gzip.compress(b"other\nVALUE\n")})
        self.bad = write(tmp_path / "bad", {"a.csv": BAD})

    def dataset(self) -> Dataset:
        return table(self.path)

    def changed(self) -> Dataset:
        return table(self.other)

    def damaged(self) -> tuple[Dataset, list[int]]:
        return table(self.bad), [2, 3, 4]


def test_rows_are_cells_by_column_named_by_file_and_line(tmp_path: Path) -> None:
    dataset = table(write(tmp_path, {"a.csv": TABLE, "b/c.csv.gz": gzip.compress(b"\xef\xbb\xbf\n other \nvalue\n")}))
    assert [dataset.key(index) for index in range(len(dataset))] == ["a.csv:2", "a.csv:5", "b/c.csv.gz:3"]
    assert dataset[0] == {"id": "1", "text": 'two\nlines, "quoted"', "kind": "x"}
    assert dataset[1] == {"id": "2", "text": "groß", "kind": "y"}
    assert dataset[2] == {"other": "value"}


def test_a_bad_row_says_where_it_is_and_why_and_spoils_no_other(tmp_path: Path) -> None:
    dataset = table(write(tmp_path, {"a.csv": BAD}))
    assert dataset[5] == {"id": "6", "text": "fine", "kind": "z"}
    for index, reason in {
        2: "a.csv:6: the row has 2 cells, but the header has 3 columns",
        3: "a.csv:7: .*can't decode byte 0xff",
        4: "a.csv:8: invalid CSV row: ',' expected after '\"'",
    }.items():
        with pytest.raises(ValueError, match=reason):
            dataset[index]
    assert len(dataset) == 6


COMMAS = [f"row number {number} with words,{number % 3}\n" for number in range(300)]
TABS = [line.replace(",", "\t") for line in COMMAS]


@pytest.mark.parametrize(
    ("name", "header", "rows", "changes", "reason"),
    [
        ("a.csv", "text,label\n", COMMAS, {20: '"begins here,1\n'}, r"a.csv:22: unclosed quote in the 280 lines"),
        ("a.csv", "text,label\n", COMMAS, {299: '"begins here,1\n'}, r"a.csv:301: unclosed quote in the 1 line"),
        ("a.csv", "text,label\n", COMMAS, {20: '"begins,1\n', 90: 'ends",1\n'}, r"a.csv:22: a quoted cell contains the 71 lines"),
        ("a.csv", "text,label\n", COMMAS, {20: '"begins,1\n', 90: '"ends,1\n'}, r"a.csv:22: unclosed quote"),
        ("a.tsv", "text\tlabel\n", TABS, {20: '"begins\t1\n', 21: 'ends"\t1\n'}, r"a.tsv:22: a quoted cell contains the 2 lines"),
        ("a.tsv", "text\n", ["word\n"] * 2000, {20: '"begins\n', 1999: 'ends"\n'}, r"a.tsv:22: .* more than 1,000 lines"),
    ],
)
def test_a_quote_that_swallows_rows_is_an_error(
    tmp_path: Path, name: str, header: str, rows: list[str], changes: dict[int, str], reason: str
) -> None:
    lines = [header, *(changes.get(number, row) for number, row in enumerate(rows))]
    path = write(tmp_path, {name: "".join(lines).encode()})
    with pytest.raises(ValueError, match=rf"{reason}.*\(quote: null\)"):
        table(path)
    assert len(dataset := table(path, quote=None)) == len(rows)
    assert next(iter(dataset[20].values())).startswith('"begins') or 299 in changes


def test_long_cells_with_line_ends_and_commas_are_read(tmp_path: Path) -> None:
    poem = "".join(f"a line, of verse {number}\n" for number in range(8)) + "and an end\nof two\nmore\n"
    assert table(write(tmp_path, {"a.csv": f'text,label\n"{poem}",x\n'.encode()}))[0] == {"text": poem, "label": "x"}
    long = "words\n" * 2000
    path = write(tmp_path, {"a.csv": f'text,label\n"{long}",x\n'.encode()})
    with pytest.raises(ValueError, match=r"a.csv:2: a quoted cell spans more than 1,000 lines; .* or raise cell_lines"):
        table(path)
    assert table(path, cell_lines=2000)[0]["text"] == long


def test_other_quotes(tmp_path: Path) -> None:
    path = write(tmp_path, {"a.csv": b"a,b\n'1,\"2',3\n"})
    assert table(path, quote="'")[0] == {"a": '1,"2', "b": "3"}


def test_columns_give_keys_and_labels(tmp_path: Path) -> None:
    path = write(tmp_path, {"a.csv": TABLE})
    dataset = table(path, key="id", labels="kind")
    assert [dataset.key(index) for index in range(2)] == ["1", "2"]
    assert dataset[1] == {"id": "2", "text": "groß", "kind": "y", "label": "y"}
    with pytest.raises(ValueError, match=r"a.csv has no column 'kinds'; it has id, text, kind"):
        table(path, labels="kinds")
    with pytest.raises(ValueError, match=r"a.csv has no column 'ID'; it has id, text, kind"):
        table(path, key="ID")


def test_tabs_and_other_delimiters(tmp_path: Path) -> None:
    path = write(tmp_path, {"a.tsv": b'x\ty\n1,2\t"3\t4"\n', "b.txt": b"x;y\n1;2\n"})
    assert table(path)[0] == {"x": "1,2", "y": "3\t4"}
    assert table(path / "b.txt", delimiter=";")[0] == {"x": "1", "y": "2"}
    with pytest.raises(
        ValueError, match="contains both comma-separated and tab-separated files; set delimiter, or give the path of one kind"
    ):
        table(write(path, {"c.csv": b"x\n1\n"}))


def test_a_long_cell_is_read(tmp_path: Path) -> None:
    assert len(table(write(tmp_path, {"a.csv": b"text\n" + b"long " * 50_000 + b"\n"}))[0]["text"]) == 250_000


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "a.csv is empty; the first line must be a header"),
        (b"text\n\n", "has a header but no rows"),
        (b"a,b,a\n1,2,3\n", "a.csv: duplicate column 'a'"),
        (b"\xff\n1\n", "the header of a.csv cannot be read: .*can't decode"),
        (b'"a" b\n1\n', "the header of a.csv cannot be read: ',' expected"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        table(write(tmp_path, {"a.csv": data}))


CELLS = st.text(st.sampled_from('ab",\n\r é\t;'), max_size=6)


@given(
    st.integers(1, 3).flatmap(lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), max_size=6)), st.booleans()
)
def test_what_was_written_is_read(tmp_path: Path, rows: list[list[str]], has_windows_ends: bool) -> None:
    width = len(rows[0]) if rows else 1
    names = [f"column {number}" for number in range(width)]
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\r\n" if has_windows_ends else "\n", quoting=csv.QUOTE_ALL)
    writer.writerows([names, *rows])
    path = write(tmp_path, {"a.csv": stream.getvalue().encode()})
    if not rows:
        return
    dataset = table(path)
    assert [list(dataset[index].values()) for index in range(len(dataset))] == rows
    assert list(dataset[0]) == names


@pytest.mark.skipif("OMNIMASK_DATA" not in os.environ, reason="needs the labelled sets in $OMNIMASK_DATA/text")
@pytest.mark.parametrize(("name", "rows", "labels"), [("banking77_train", 10_003, "category"), ("movie_reviews", 1600, None)])
def test_real_tables(name: str, rows: int, labels: str | None) -> None:
    path = Path(os.environ["OMNIMASK_DATA"]) / "text" / f"{name}.csv.gz"
    dataset = table(path, labels=labels)
    with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
        expected = list(csv.DictReader(stream))
    assert len(dataset) == len(expected) == rows
    for index in range(0, rows, 97):
        sample = dataset[index]
        assert {name: sample[name] for name in expected[index]} == expected[index]
    assert len({dataset[index]["label"] for index in range(rows)}) == (77 if labels else 2)
