"""Documents in files: how files divide, keys, labels, packed files, damage, errors."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnimask.interfaces import Context, Dataset
from omnimask.testing import DatasetContract
from omnimask_datasets.byte_ranges import BlockScan, by_blank_line, by_line, line_by_line
from omnimask_datasets.documents import DocumentFiles

from .conftest import write


class Notes(DocumentFiles):
    extensions: ClassVar[tuple[str, ...]] = (".txt", ".md")
    field: ClassVar[str] = "note"


FILES = {
    "one.txt": b"\xef\xbb\xbf\n\nfirst\nof two\r\n \r\n\r\nlast",
    "b/two.md": b"alone\n",
    "b/.hidden.txt": b"hidden",
    "a/three.txt.gz": gzip.compress("groß\n\nklein".encode("latin-1")),
    "four.pdf": b"%PDF",
    "empty.txt": b"",
}


def notes(path: Path, documents: Literal["file", "blank_line", "line"] = "file") -> Notes:
    return Notes(Context(), path=path, documents=documents)


def listed(dataset: Dataset) -> dict[str, bytes]:
    return {dataset.key(index): dataset[index]["note"] for index in range(len(dataset))}


class FilesContract(DatasetContract):
    documents: ClassVar[Literal["file", "blank_line", "line"]]

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.path = write(tmp_path / "here", FILES)
        self.other = write(tmp_path / "other", {**FILES, "b/two.md": b"another\n"})

    def dataset(self) -> Dataset:
        return notes(self.path, self.documents)

    def changed(self) -> Dataset:
        return notes(self.other, self.documents)


class TestFiles(FilesContract):
    documents = "file"

    def damaged(self) -> tuple[Dataset, list[int]]:
        write(self.path, {"a/three.txt.gz": FILES["a/three.txt.gz"][:-6], "a/z.txt.gz": b"plain"})
        (self.path / "zz.txt").symlink_to(self.path / "gone")
        return notes(self.path), [0, 1, 5]


class TestBlankLines(FilesContract):
    documents = "blank_line"

    def damaged(self) -> tuple[Dataset, list[int]]:
        dataset = notes(self.path, "blank_line")
        write(self.path, {"b/two.md": b"changed meanwhile"})
        return dataset, [2]


class TestLines(FilesContract):
    documents = "line"


def test_a_document_is_a_file_or_what_stands_between_blank_lines_or_a_line(tmp_path: Path) -> None:
    path = write(tmp_path, FILES)
    assert listed(notes(path)) == {
        "a/three.txt.gz": b"gro\xdf\n\nklein",
        "b/two.md": b"alone\n",
        "empty.txt": b"",
        "one.txt": FILES["one.txt"],
    }
    assert listed(notes(path, "blank_line")) == {
        "a/three.txt.gz:1": b"gro\xdf",
        "a/three.txt.gz:3": b"klein",
        "b/two.md:1": b"alone",
        "one.txt:3": b"first\nof two",
        "one.txt:7": b"last",
    }
    assert list(listed(notes(path, "line")))[-3:] == ["one.txt:3", "one.txt:4", "one.txt:7"]
    assert [notes(path, "line")[index].get("label") for index in range(4)] == ["a", "a", "b", None]


def test_a_single_file_may_end_in_anything(tmp_path: Path) -> None:
    path = write(tmp_path, {"corpus.en": b"one\ntwo\n"}) / "corpus.en"
    assert listed(notes(path, "line")) == {"corpus.en:1": b"one", "corpus.en:2": b"two"}
    assert "label" not in notes(path)[0]


def test_the_place_does_not_matter_and_a_content_of_the_same_size_does(tmp_path: Path) -> None:
    for documents in ("file", "line"):
        here, there = (notes(write(tmp_path / name, FILES), documents) for name in ("here", "there"))
        assert here.fingerprint() == there.fingerprint()
    changed = write(tmp_path / "there", {"b/two.md": b"ALONE\n"})
    assert notes(changed, "line").fingerprint() != notes(tmp_path / "here", "line").fingerprint()
    assert notes(changed, "line").fingerprint() != notes(changed, "blank_line").fingerprint()


def test_places_are_found_once_and_a_damaged_cache_is_replaced(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, FILES)
    before = notes(path, "line")
    monkeypatch.setattr("omnimask_datasets.byte_ranges._scan_all", lambda *_: pytest.fail("scanned again"))
    assert listed(notes(path, "line")) == listed(before)
    monkeypatch.undo()
    monkeypatch.setenv("OMNIMASK_CACHE", str(cache))
    (file,) = cache.rglob("*.npz")
    for damage in (b"", b"rubbish", file.read_bytes()[:200]):
        file.write_bytes(damage)
        assert notes(path, "line").fingerprint() == before.fingerprint()
    write(tmp_path, {"b/two.md": b"a longer line\n"})
    assert listed(notes(path, "line"))["b/two.md:1"] == b"a longer line"


def test_a_file_that_is_too_large_when_unpacked_is_a_bad_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnimask_datasets.documents._LARGEST", 9)
    dataset = notes(write(tmp_path, {"a.txt.gz": gzip.compress(b"1234567890"), "b.txt.gz": gzip.compress(b"1234") * 2}))
    with pytest.raises(ValueError, match="its decompressed size exceeds 9 bytes"):
        dataset[0]
    assert dataset[1]["note"] == b"12341234"


def test_what_is_no_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="nowhere does not exist"):
        notes(tmp_path / "nowhere")
    (tmp_path / "pictures").mkdir()
    with pytest.raises(ValueError, match=r"no files ending in .txt, .md; found no files at all"):
        notes(tmp_path / "pictures")
    with pytest.raises(ValueError, match=r"found 2 other files: 1 with .png, 1 with .gz"):
        notes(write(tmp_path / "pictures", {"a.png": b"", "b.gz": b""}))
    with pytest.raises(ValueError, match="contains no documents: its 2 files are blank"):
        notes(write(tmp_path / "blank", {"a.txt": b"", "b.txt": b" \n\n"}), "line")
    with pytest.raises(ValueError, match="is UTF-16 or UTF-32, which is not supported; save it as UTF-8"):
        notes(write(tmp_path / "wide", {"a.txt": "a\nb".encode("utf-16")}), "line")
    with pytest.raises(ValueError, match="cannot be decompressed: Not a gzipped file"):
        notes(write(tmp_path / "damaged", {"a.txt.gz": b"plain"}), "line")
    monkeypatch.setenv("OMNIMASK_CACHE", str(tmp_path / "blank" / "a.txt"))
    with pytest.raises(ValueError, match=r"a.txt.gz cannot be (unpacked into .*; choose a folder with OMNIMASK_CACHE|read)"):
        notes(write(tmp_path / "packed", {"a.txt.gz": gzip.compress(b"a")}), "line")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "a.txt").symlink_to(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"a.txt cannot be read: No such file"):
        notes(tmp_path / "links", "line")


@given(st.lists(st.sampled_from([b"a", b"bc\r", b"", b" ", b"\t\r", b"\xff"]), max_size=12), st.booleans())
def test_ranges_are_in_order_and_hold_all_that_is_not_blank(lines: list[bytes], has_end: bool) -> None:
    data = b"\n".join(lines) + (b"\n" if has_end else b"")
    scans: tuple[BlockScan, ...] = (by_line, line_by_line(by_blank_line))
    for scan in scans:
        places = np.concatenate([np.zeros((0, 3), np.int64), *scan(_split(data))]).tolist()
        for size in (2, 100):  # lines in a block
            blocks = [b"".join(_split(data)[start : start + size]) for start in range(0, len(_split(data)), size)]
            assert np.concatenate([np.zeros((0, 3), np.int64), *scan(blocks)]).tolist() == places
        flat = [place for start, stop, _ in places for place in (start, stop)]
        assert flat == sorted(flat)
        assert all(data[start:stop].strip() and not data[start:stop].endswith(b"\n") for start, stop, _ in places)
        kept = b"".join(b"".join(data[start:stop].split()) for start, stop, _ in places)
        assert kept == b"".join(data.split())
        assert all(data[:start].count(b"\n") + 1 == line for start, _, line in places)
        if scan is by_line:
            assert not any(b"\n" in data[start:stop] or data[start:stop].endswith(b"\r") for start, stop, _ in places)


def _split(data: bytes) -> list[bytes]:
    """Lines as a file gives them: only ``\\n`` ends one."""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])
