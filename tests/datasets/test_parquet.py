"""Parquet files: rows, columns, keys, labels, row groups in memory, damage."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import pytest

from omnimask.interfaces import Context, Dataset
from omnimask.testing import DatasetContract

pa = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq  # noqa: E402

from omnimask_datasets.parquet import Parquet  # noqa: E402


def write(path: Path, columns: dict[str, list[Any]], rows_per_group: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=rows_per_group)
    return path


def rows(path: Path, **options: Any) -> Parquet:
    return Parquet(Context(), path=path, **options)


FIRST = {"text": ["a", "b", None], "data": [b"1", b"2", b"3"], "spans": [[[0, 1]], [], None], "kind": ["x", "y", "x"]}
SECOND = {"text": ["d"], "data": [b"4"], "spans": [[[1, 2]]], "kind": ["y"]}


class TestParquet(DatasetContract):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.path, self.other = tmp_path / "here", tmp_path / "other"
        for folder in (self.path, self.other):
            write(folder / "a.parquet", FIRST)
            write(folder / "b" / "c.parquet", SECOND)

    def dataset(self) -> Dataset:
        return rows(self.path)

    def changed(self) -> Dataset:
        write(self.other / "a.parquet", {**FIRST, "text": ["a", "b", "c"]})
        return rows(self.other)

    def damaged(self) -> tuple[Dataset, list[int]]:
        dataset = rows(self.path)
        file = self.path / "a.parquet"
        file.write_bytes(b"\0" * file.stat().st_size)
        return dataset, [0, 1, 2]


def folder_of(tmp_path: Path) -> Path:
    write(tmp_path / "a.parquet", FIRST)
    write(tmp_path / "b" / "c.parquet", SECOND)
    return tmp_path


def test_rows_are_values_by_column_named_by_file_and_row(tmp_path: Path) -> None:
    dataset = rows(folder_of(tmp_path))
    keys = [dataset.key(index) for index in range(len(dataset))]
    assert keys == ["a.parquet:1", "a.parquet:2", "a.parquet:3", "b/c.parquet:1"]
    assert dataset[0] == {"text": "a", "data": b"1", "spans": [[0, 1]], "kind": "x"}
    assert dataset[2] == {"text": None, "data": b"3", "spans": None, "kind": "x"}
    assert dataset[3]["text"] == "d"


def test_only_the_columns_that_are_asked_for_are_read(tmp_path: Path) -> None:
    dataset = rows(folder_of(tmp_path), columns=["text"], labels="kind")
    assert dataset[1] == {"text": "b", "kind": "y", "label": "y"}
    assert rows(tmp_path, columns=["text"])[1] == {"text": "b"}
    for options in ({"columns": ["texts"]}, {"key": "texts"}, {"labels": "texts"}):
        with pytest.raises(ValueError, match=r"a.parquet has no column 'texts'; it has text, data, spans, kind"):
            rows(tmp_path, **options)
    write(tmp_path / "d.parquet", {"other": [1]})
    with pytest.raises(ValueError, match=r"d.parquet has no column 'text'; it has other"):
        rows(tmp_path)


def test_a_column_may_give_the_keys(tmp_path: Path) -> None:
    folder_of(tmp_path)
    path = write(tmp_path / "keys" / "a.parquet", {"id": [3, 1, 2], "text": ["a", "b", "c"]})
    assert [rows(path, key="id").key(index) for index in range(3)] == ["3", "1", "2"]
    assert rows(path, key="id").fingerprint() != rows(path).fingerprint()
    with pytest.raises(ValueError, match=r"a.parquet:3: kind is 'x', as in a.parquet:1; keys must be unique"):
        rows(tmp_path / "a.parquet", key="kind")
    with pytest.raises(ValueError, match=r"a.parquet:1: data is b'1'; a key must be a non-empty"):
        rows(tmp_path / "a.parquet", key="data")


def test_a_row_group_is_unpacked_once_while_it_fits_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = rows(write(tmp_path / "a.parquet", {"n": list(range(10))}, rows_per_group=3))
    assert [dataset[index]["n"] for index in (9, 0, 4, 8, 2)] == [9, 0, 4, 8, 2]
    assert len(dataset._kept) == 4
    assert not pickle.loads(pickle.dumps(dataset))._kept  # noqa: S301
    monkeypatch.setattr("omnimask_datasets.parquet.KEPT_BYTES", 1)
    fresh = rows(tmp_path / "a.parquet")
    assert [fresh[index]["n"] for index in range(10)] == list(range(10))
    assert len(fresh._kept) == 1


def test_rows_that_do_not_fit_into_memory_lie_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.parquet", {"n": list(range(5))})
    write(tmp_path / "b.parquet", {"n": pa.array([], pa.int64())})  # pyright: ignore[reportArgumentType]
    write(tmp_path / "c.parquet", {"n": [5]})
    assert rows(tmp_path).group_starts is None
    monkeypatch.setattr("omnimask_datasets.parquet.KEPT_BYTES", 1)
    starts = rows(tmp_path).group_starts
    assert starts is not None
    assert starts.tolist() == [0, 2, 4, 5]
    assert [rows(tmp_path).key(index) for index in (4, 5)] == ["a.parquet:5", "c.parquet:1"]


def test_large_row_groups_are_said_to_be_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.parquet", {"n": list(range(100))}, rows_per_group=50)
    rows(path)
    assert not caplog.records
    monkeypatch.setattr("omnimask_datasets.parquet.KEPT_BYTES", 1)
    with caplog.at_level(logging.WARNING):
        rows(path)
    assert "row groups have up to 50 rows" in caplog.text


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1, but no more")
    with pytest.raises(ValueError, match=r"a.parquet cannot be read as Parquet"):
        rows(tmp_path)
    with pytest.raises(ValueError, match="has no rows"):
        rows(write(tmp_path / "a.parquet", {"n": pa.array([], pa.int64())}))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"contains no files ending in .parquet"):
        rows(write(tmp_path / "b" / "a.txt", FIRST).parent)


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from omnimask.errors import UserError
    from omnimask.registry import discover

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "omnimask_datasets.parquet")
    with pytest.raises(UserError, match=r"pip install 'omnimask\[parquet\]'"):
        discover(refresh=True).load("dataset", "parquet")
    monkeypatch.undo()
    discover(refresh=True)


def strings(*values: bytes) -> pa.Array:
    """A column of strings, of which nothing checks that they are UTF-8."""
    return pa.array(values, pa.binary()).view(pa.string())


def test_a_value_that_python_cannot_hold_makes_its_own_row_bad(tmp_path: Path) -> None:
    texts = strings(b"one", b"\xff\xfe", b"three")
    dataset = rows(write(tmp_path / "a.parquet", {"text": texts, "id": ["a", "b", "c"]}))  # pyright: ignore[reportArgumentType]
    assert [dataset[0]["text"], dataset[2]["text"]] == ["one", "three"]
    with pytest.raises(ValueError, match=r"a.parquet:2: column 'text': .*can't decode byte 0xff"):
        dataset[1]
    with_keys = rows(tmp_path / "a.parquet", key="text")
    assert [with_keys.key(index) for index in range(3)] == ["one", "a.parquet:2", "three"]


def test_times_that_python_cannot_hold_are_texts(tmp_path: Path) -> None:
    days, moments = pa.array([5_000_000, 0], pa.int32()).view(pa.date32()), pa.array([1, 2**60], pa.timestamp("ns"))
    far = pa.array([2**60, 0], pa.timestamp("ms"))
    dataset = rows(write(tmp_path / "a.parquet", {"day": days, "moment": moments, "far": far}))  # pyright: ignore[reportArgumentType]
    assert dataset[0]["day"].startswith("15659-")
    assert dataset[0]["far"]
    assert str(dataset[1]["day"]) == "1970-01-01"
    assert "1970-01-01 00:00:00.000000001" in str(dataset[0]["moment"])


def test_pictures_as_hugging_face_writes_them_are_their_bytes(tmp_path: Path) -> None:
    column = [{"bytes": b"PNG", "path": "1.png"}, {"bytes": None, "path": "/etc/hostname"}, {"bytes": None, "path": None}]
    dataset = rows(write(tmp_path / "a.parquet", {"image": column}))
    assert dataset[0] == {"image": b"PNG"}
    assert dataset[1] == {"image": {"bytes": None, "path": "/etc/hostname"}}
    assert dataset[2] == {"image": None}


def test_the_fingerprint_follows_the_rows(tmp_path: Path) -> None:
    texts = [f"row {number:03d}" for number in range(300)]
    here = rows(write(tmp_path / "here" / "a.parquet", {"text": texts}))
    same = rows(write(tmp_path / "same" / "a.parquet", {"text": texts}))
    other = rows(write(tmp_path / "other" / "a.parquet", {"text": [*texts[:150], "row X50", *texts[151:]]}))
    assert here.fingerprint() == same.fingerprint()
    assert here.fingerprint() != other.fingerprint()
