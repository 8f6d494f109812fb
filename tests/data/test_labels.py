"""Tables of labels: what is read, and that every error has its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnimask.data.label_tables import Row, parse_labels, read_labels, unknown_keys
from omnimask.errors import UserError


def test_rows_are_read_by_key(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes('\ufefflabel,size,key,split\r\nä,1,"a, b",train\r\n\r\nb,2,c,\r\n'.encode())
    assert read_labels(path) == {"a, b": Row("ä", "train", 2), "c": Row("b", None, 4)}
    assert parse_labels(b"file,label\nx,1\n", "t") == {"x": Row("1", None, 2)}


@pytest.mark.parametrize(
    ("data", "messages"),
    [
        (b"", ["t.csv:1: the header must contain the columns key (or file) and label; it has nothing"]),
        (b"name,label\na,1\n", ["t.csv:1: the header must contain the columns key (or file); it has name, label"]),
        (b"key,label,label\na,1,2\n", ["t.csv:1: duplicate column label"]),
        (b"key,label\n", ["t.csv:1: the table has no rows"]),
        (b"key,label\na,1\nb,\xff\n", ["t.csv:3: not UTF-8 (byte 0xff); save the table as UTF-8"]),
        (b'key,label\na,1\nb,"2\n', ["t.csv:3: unexpected end of data"]),
        (
            b"key,label,split\na,1,train\na,2,test\n,3,\nb,,train\nc,4,dev\nd\n",
            [
                "t.csv:3: duplicate key 'a', first in line 2",
                "t.csv:4: the key is empty",
                "t.csv:5: 'b' has no label; remove its row",
                "t.csv:6: split must be train, test, or empty (to skip the sample), got 'dev'",
                "t.csv:7: the row has 1 cells, but needs at least 3",
            ],
        ),
    ],
)
def test_everything_that_is_wrong_has_its_line(data: bytes, messages: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        parse_labels(data, "t.csv")
    assert list(caught.value.messages) == messages


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the labels .*gone.csv cannot be read: No such file"):
        read_labels(tmp_path / "gone.csv")


def test_of_many_problems_the_first_are_listed() -> None:
    with pytest.raises(UserError) as caught:
        parse_labels(b"key,label\n" + b"a,\n" * 50, "t.csv")
    assert len(caught.value.messages) == 21
    assert caught.value.messages[-1] == "and 30 more problems in t.csv"


def test_unknown_keys_are_named_with_an_example() -> None:
    rows = {"a": Row("1", None, 2), "x": Row("1", None, 3), "y": Row("1", None, 4)}
    assert unknown_keys(rows, ["a", "b"], "t.csv", "sample") == [
        "t.csv:3: unknown sample 'x'",
        "t.csv:4: unknown sample 'y'",
        "t.csv: keys look like 'a' (2 of 3 rows are unknown)",
    ]
    assert unknown_keys(rows, ["a", "x", "y"], "t.csv", "sample") == []


def test_a_quote_that_is_not_closed_is_named() -> None:
    table = b'key,label\na,cat\nb,"dog\nc,cat\nd,"cat"\n'
    with pytest.raises(UserError, match=r"labels.csv:\d: "):
        parse_labels(table, "labels.csv")
    with pytest.raises(UserError, match=r"labels.csv:4: the row contains line breaks, from 'b' on;"):
        parse_labels(b'key,label\na,cat\nb,"dog\nc,cat"\n', "labels.csv")
