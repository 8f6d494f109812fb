"""JSON lines: rows, keys, labels, bad lines, packed files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from omnimask.interfaces import Context, Dataset
from omnimask.testing import DatasetContract
from omnimask_datasets.jsonl import Jsonl

from .conftest import write

LINES = b"""\xef\xbb\xbf{"text": "gro\xc3\x9f", "id": 7, "entity": [[0, 2]]}\r

{"text": "two\\nlines", "id": "b", "kind": "x"}
{"text": "cut off
["no", "object"]
{"text": "\xff", "id": 5}
"""
FILES = {"a.jsonl": LINES, "b/c.ndjson.gz": gzip.compress(b'{"text": "packed"}'), "notes.txt": b"{}"}


def rows(path: Path, **options: Any) -> Jsonl:
    return Jsonl(Context(), path=path, **options)


class TestJsonl(DatasetContract):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        good = {"a.jsonl": b'{"text": "a"}\n{"text": "b"}\n', "b/c.ndjson.gz": FILES["b/c.ndjson.gz"]}
        self.path = write(tmp_path / "here", good)
        self.other = write(tmp_path / "other", {**good, "a.jsonl": b'{"text": "a"}\n{"text": "B"}\n'})
        self.bad = write(tmp_path / "bad", FILES)

    def dataset(self) -> Dataset:
        return rows(self.path)

    def changed(self) -> Dataset:
        return rows(self.other)

    def damaged(self) -> tuple[Dataset, list[int]]:
        return rows(self.bad), [2, 3, 4]


def test_rows_are_mappings_named_by_file_and_line(tmp_path: Path) -> None:
    dataset = rows(write(tmp_path, FILES))
    assert [dataset.key(index) for index in range(len(dataset))] == [
        *(f"a.jsonl:{line}" for line in (1, 3, 4, 5, 6)),
        "b/c.ndjson.gz:1",
    ]
    assert dataset[0] == {"text": "groß", "id": 7, "entity": [[0, 2]]}
    assert dataset[5] == {"text": "packed"}


def test_a_bad_line_says_where_it_is_and_why(tmp_path: Path) -> None:
    dataset = rows(write(tmp_path, {**FILES, "deep.jsonl": b"[" * 200_000}))
    reasons = {2: "a.jsonl:4: Invalid control|a.jsonl:4: Unterminated string", 3: r"a.jsonl:5: a row must be an object .* not list"}
    for index, reason in {**reasons, 4: "a.jsonl:6: .*can't decode byte", 6: "deep.jsonl:1: .*recursion"}.items():
        with pytest.raises(ValueError, match=reason):
            dataset[index]


def test_a_column_may_give_the_keys(tmp_path: Path) -> None:
    good = b'{"text": "a", "id": 7}\n{"text": "cut\n{"text": "c", "id": "b"}\n'
    dataset = rows(write(tmp_path, {"a.jsonl": good}), key="id")
    assert [dataset.key(index) for index in range(3)] == ["7", "a.jsonl:2", "b"]
    assert dataset.fingerprint() != rows(tmp_path).fingerprint()
    for line, reason in (
        (b'{"id": "7"}', "a.jsonl:4: id is '7', as in a.jsonl:1; keys must be unique; or remove key, and"),
        (b'{"text": ""}', "a.jsonl:4: no column 'id'; it has text"),
        (b'{"id": 1.5}', "a.jsonl:4: id is 1.5; a key must be a non-empty string or a number"),
        (b'{"id": true}', "a.jsonl:4: id is True"),
        (b'{"id": ""}', "a.jsonl:4: id is ''"),
        (b'{"id": null}', "a.jsonl:4: id is None"),
    ):
        with pytest.raises(ValueError, match=reason):
            rows(write(tmp_path, {"a.jsonl": good + line}), key="id")


def test_a_column_may_give_the_labels(tmp_path: Path) -> None:
    dataset = rows(write(tmp_path, FILES), labels="kind")
    assert dataset[1]["label"] == dataset[1]["kind"] == "x"
    with pytest.raises(ValueError, match=r"a.jsonl:1: no column 'kind'; it has text, id, entity"):
        dataset[0]


def test_a_large_file_is_read_by_place(tmp_path: Path) -> None:
    lines = [json.dumps({"n": number, "text": "x" * (number % 50)}) for number in range(3000)]
    dataset = rows(write(tmp_path, {"a.jsonl": "\n".join(lines).encode()}) / "a.jsonl")
    assert len(dataset) == 3000
    assert [dataset[index]["n"] for index in (2999, 0, 1234)] == [2999, 0, 1234]


def test_no_rows_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"empty.jsonl has no rows"):
        rows(write(tmp_path, {"empty.jsonl": b"\n \n"}) / "empty.jsonl")
    with pytest.raises(ValueError, match=r"contains no files ending in .jsonl, .ndjson; found 1 other files: 1 with .txt"):
        rows(write(tmp_path / "other", {"a.txt": b"{}"}))


def test_a_key_that_utf_8_cannot_write_is_named_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, {"a.jsonl": b'{"id": "fine"}\n{"id": "cut \\ud83d"}\n'})
    with pytest.raises(ValueError, match=r"a\.jsonl:2: id: the key 'cut \\ud83d' contains a lone surrogate at 4,"):
        rows(path, key="id")
