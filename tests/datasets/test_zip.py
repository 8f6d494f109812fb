"""Zip files as data sets: order, labels, damage, workers, clear errors."""

from __future__ import annotations

import logging
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from omnimask.errors import UserError
from omnimask.interfaces import Context, Dataset
from omnimask.testing import DatasetContract
from omnimask_datasets.archive import ZipArchive


class TextZip(ZipArchive):
    extensions: ClassVar[tuple[str, ...]] = (".txt",)
    field: ClassVar[str] = "text"


def write(path: Path, members: Mapping[str, bytes | str], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def opened(path: Path, labels: str | None = None) -> TextZip:
    return TextZip(Context(), path=path, labels=labels)


MEMBERS = {
    "dog/2.txt": b"2",
    "cat/1.txt": b"1" * 500,
    "cat/.hidden.txt": b"",
    "__MACOSX/cat/1.txt": b"",
    "top.TXT": b"t",
    "a.pdf": b"",
}


class TestArchive(DatasetContract):
    @pytest.fixture(autouse=True)
    def archive(self, tmp_path: Path) -> None:
        self.path = tmp_path / "texts.zip"

    def dataset(self) -> Dataset:
        return opened(write(self.path, MEMBERS))

    def changed(self) -> Dataset:
        return opened(write(self.path.with_name("other.zip"), {**MEMBERS, "dog/2.txt": b"3"}))

    def damaged(self) -> tuple[Dataset, list[int]]:
        dataset = self.dataset()
        assert isinstance(dataset, TextZip)
        damage(self.path, "cat/1.txt")
        return opened(self.path), [0]


def damage(path: Path, member: str) -> None:
    """Overwrites the packed bytes of one member."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(member)
    data = bytearray(path.read_bytes())
    start = info.header_offset + 30 + len(info.filename.encode())
    data[start : start + info.compress_size] = b"\xff" * info.compress_size
    path.write_bytes(bytes(data))


def test_members_come_in_order_and_folders_are_labels(tmp_path: Path) -> None:
    dataset = opened(write(tmp_path / "a.zip", MEMBERS))
    assert [dataset.key(index) for index in range(len(dataset))] == ["cat/1.txt", "dog/2.txt", "top.TXT"]
    assert dataset[1] == {"text": b"2", "label": "dog"}
    assert dataset[2] == {"text": b"t"}


def test_folders_named_like_splits_are_no_labels(tmp_path: Path) -> None:
    dataset = opened(write(tmp_path / "a.zip", {"train/cat/1.txt": b"1", "train/2.txt": b"2", "Test/dog/3.txt": b"3"}))
    assert {dataset.key(index): dataset[index].get("label") for index in range(3)} == {
        "train/cat/1.txt": "cat",
        "train/2.txt": None,
        "Test/dog/3.txt": "dog",
    }


def test_other_members_are_counted_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        opened(write(tmp_path / "a.zip", {"1.txt": b"1", "2.pdf": b"2", "3.pdf": b"3", "labels.csv": "file,label\n1.txt,a\n"}))
    assert "1 files, ignoring 2: 2 with .pdf" in caplog.text


def test_a_table_says_the_labels(tmp_path: Path) -> None:
    table = "file,label,split\r\ndog/2.txt,hound,train\r\ntop.TXT,größer,test\r\n"
    path = write(tmp_path / "a.zip", {**MEMBERS, "labels.csv": table, "others.csv": "file,label\ncat/1.txt,tom\n"})
    assert [opened(path)[index].get("label") for index in range(3)] == [None, "hound", "größer"]
    assert [opened(path, "others.csv")[index].get("label") for index in range(3)] == ["tom", None, None]
    with pytest.raises(ValueError, match=r"no member 'none.csv' with labels; its tables: labels.csv, others.csv"):
        opened(path, "none.csv")


def test_rows_of_the_table_that_name_no_member_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {**MEMBERS, "labels.csv": "file,label\ndog/2.txt,hound\n../x.txt,gone\n"})
    with pytest.raises(UserError, match=r"unknown member '../x.txt'"):
        opened(path)


def test_names_that_climb_are_only_names(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    path = write(tmp_path / "inner" / "a.zip", {"../../up.txt": b"inside"})
    dataset = opened(path)
    assert dataset.key(0) == "../../up.txt"
    assert dataset[0]["text"] == b"inside"
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "inner", path]


def test_every_process_opens_the_file_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = opened(write(tmp_path / "a.zip", MEMBERS))
    before = dataset._archive()
    assert dataset._archive() is before
    assert pickle.loads(pickle.dumps(dataset))[1] == dataset[1]  # noqa: S301
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert dataset._archive() is not before
    assert dataset[1]["text"] == b"2"


def test_the_fingerprint_does_not_depend_on_the_place(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.zip", MEMBERS), write(tmp_path / "b.zip", MEMBERS, zipfile.ZIP_STORED)
    assert opened(first).fingerprint() == opened(second).fingerprint()


def test_encrypted_members_are_bad_samples(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"a.txt": b"secret", "b.txt": b"open"}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(bytes(data))
    dataset = opened(path)
    with pytest.raises(ValueError, match=r"the member a.txt is encrypted"):
        dataset[0]
    assert dataset[1]["text"] == b"open"


def test_damaged_members_are_bad_samples(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", MEMBERS)
    damage(path, "cat/1.txt")
    with pytest.raises(ValueError, match=r"the member cat/1.txt cannot be unpacked"):
        opened(path)[0]


def test_members_that_would_fill_the_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnimask_datasets.archive._LARGEST", 100)
    with pytest.raises(ValueError, match=r"the member cat/1.txt unpacks to 500 bytes; the limit is 100"):
        opened(write(tmp_path / "a.zip", MEMBERS))[0]


def test_what_is_no_zip_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone.zip does not exist"):
        opened(tmp_path / "gone.zip")
    with pytest.raises(ValueError, match=r"is a folder; path must be a zip file"):
        opened(tmp_path)
    (tmp_path / "text.zip").write_bytes(b"PK, but no archive")
    with pytest.raises(ValueError, match=r"text.zip is not a readable zip file: File is not a zip file"):
        opened(tmp_path / "text.zip")
    with pytest.raises(ValueError, match=r"no members ending in .txt; found 2 other files: 2 with .pdf"):
        opened(write(tmp_path / "a.zip", {"a.pdf": b"", "b.pdf": b""}))
