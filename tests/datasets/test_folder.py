"""Files in folders: order, labels, odd files, clear errors."""

from __future__ import annotations

import logging
import os
import pickle
import socket
from pathlib import Path
from typing import ClassVar

import pytest

from omnimask.interfaces import Context, Dataset
from omnimask_datasets.folder import FileFolder


class TextFolder(FileFolder):
    extensions: ClassVar[tuple[str, ...]] = (".txt", ".md")
    field: ClassVar[str] = "text"


def write(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def folder(path: Path) -> TextFolder:
    return TextFolder(Context(), path=path)


def keys(dataset: FileFolder) -> list[str]:
    return [dataset.key(index) for index in range(len(dataset))]


def test_files_are_listed_in_order_and_read_as_bytes(tmp_path: Path) -> None:
    dataset = folder(write(tmp_path, "b.txt", "cat/2.MD", "cat/1.txt", "dog/old/1.txt", "notes.pdf", ".hidden.txt", ".git/x.txt"))
    assert isinstance(dataset, Dataset)
    assert keys(dataset) == ["b.txt", "cat/1.txt", "cat/2.MD", "dog/old/1.txt"]
    assert dataset[0] == {"text": b"b.txt"}
    assert dataset[1] == {"text": b"cat/1.txt", "label": "cat"}
    assert dataset[3]["label"] == "dog"
    assert pickle.loads(pickle.dumps(dataset))[1] == dataset[1]  # noqa: S301


def test_the_fingerprint_follows_names_and_contents_and_not_the_place(tmp_path: Path) -> None:
    here, there = write(tmp_path / "here", "a.txt", "b.txt"), write(tmp_path / "there", "a.txt", "b.txt", "note.pdf")
    assert folder(here).fingerprint() == folder(there).fingerprint()
    assert folder(here).state() != folder(there).state()
    os.utime(there / "b.txt", (1, 1))
    assert folder(here).fingerprint() == folder(there).fingerprint()
    (there / "b.txt").write_bytes(b"B.TXT")  # as many bytes
    assert folder(here).fingerprint() != folder(there).fingerprint()
    write(here, "c.txt")
    assert len(folder(here)) == 3


def test_links_inside_are_followed_but_loops_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write(tmp_path / "root", "a/1.txt", "b/2.txt")
    elsewhere = write(tmp_path / "elsewhere", "3.txt")
    (root / "a" / "up").symlink_to(root, target_is_directory=True)
    (root / "a" / "self").symlink_to(root / "a", target_is_directory=True)
    (root / "again").symlink_to(root / "b", target_is_directory=True)
    (root / "d.txt").symlink_to(elsewhere / "3.txt")
    assert keys(folder(root)) == ["a/1.txt", "again/2.txt", "b/2.txt", "d.txt"]
    assert not caplog.records


def test_links_to_folders_elsewhere_are_followed_when_asked_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root, elsewhere = write(tmp_path / "root", "a/1.txt"), write(tmp_path / "elsewhere", "3.txt")
    (root / "c").symlink_to(elsewhere, target_is_directory=True)
    (root / "all").symlink_to("/", target_is_directory=True)
    assert keys(folder(root)) == ["a/1.txt"]
    assert "2 links to folders outside of it: c ->" in caplog.text
    assert f"c -> {elsewhere}" in caplog.text
    (root / "all").unlink()
    assert keys(TextFolder(Context(), path=root, follow_links=True)) == ["a/1.txt", "c/3.txt"]


def test_only_regular_files_are_samples(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write(tmp_path, "1.txt")
    os.mkfifo(root / "2.txt")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "3.txt"))
    (root / "4.txt").symlink_to("/dev/zero")
    assert keys(folder(root)) == ["1.txt"]
    assert "3 pipes, sockets or devices: 4.txt, 2.txt, 3.txt" in caplog.text
    for name in ("2.txt", "3.txt", "4.txt"):
        assert name in caplog.text


def test_a_long_listing_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "a/1.txt", "a/2.txt", "b/3.txt")
    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr("omnimask.data.walk.time.monotonic", lambda: float(next(clock)))
    with caplog.at_level(logging.INFO):
        folder(tmp_path)
    assert f"listing {tmp_path}: " in caplog.text


def test_what_is_left_out_is_counted_by_ending(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        folder(write(tmp_path, "1.txt", "2.md", "3.heic", "4.heic", "5.HEIC", "LICENSE"))
    assert "2 files, ignoring 4: 3 with .heic, 1 with no extension" in caplog.text


def test_folders_named_like_splits_are_no_labels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        dataset = folder(write(tmp_path, "train/cat/1.txt", "train/dog/2.txt", "Val/cat/old/3.txt", "Val/4.txt", "5.txt"))
    labels = {dataset.key(index): dataset[index].get("label") for index in range(len(dataset))}
    assert labels == {
        "train/cat/1.txt": "cat",
        "train/dog/2.txt": "dog",
        "Val/cat/old/3.txt": "cat",
        "Val/4.txt": None,
        "5.txt": None,
    }
    assert "the folders Val, train are splits; labels are the folders below. All splits are read: give" in caplog.text


def test_a_class_may_be_named_like_a_split(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = folder(write(tmp_path, "train/1.txt", "plane/2.txt"))
    assert [dataset[index]["label"] for index in range(2)] == ["plane", "train"]
    assert not caplog.records
    folder(write(tmp_path, "test/3.txt"))
    assert "the folders test, train look like splits, but are read as labels" in caplog.text


def test_a_link_that_leads_nowhere_is_a_bad_sample(tmp_path: Path) -> None:
    write(tmp_path, "a.txt")
    (tmp_path / "b.txt").symlink_to(tmp_path / "gone.txt")
    dataset = folder(tmp_path)
    with pytest.raises(OSError, match="No such file"):
        dataset[1]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the folder .*nowhere does not exist"):
        folder(tmp_path / "nowhere")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.txt is a file; path must be a folder with files ending in .txt, .md"):
        folder(write(tmp_path, "a.txt") / "a.txt")


def test_a_folder_of_other_files_says_what_it_holds(tmp_path: Path) -> None:
    write(tmp_path, "1.pdf", "2.pdf", "x/README")
    with pytest.raises(ValueError, match=r"no files ending in .txt, .md; found 3 other files: 2 with .pdf, 1 with no extension"):
        folder(tmp_path)


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found no files at all"):
        folder(tmp_path)
