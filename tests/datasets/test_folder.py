"""Files in folders: order, labels, odd files, clear errors."""

from __future__ import annotations

import pickle
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


def test_the_fingerprint_follows_names_and_sizes_and_not_the_place(tmp_path: Path) -> None:
    here, there = write(tmp_path / "here", "a.txt", "b.txt"), write(tmp_path / "there", "a.txt", "b.txt", "note.pdf")
    assert folder(here).fingerprint() == folder(there).fingerprint()
    (there / "b.txt").write_bytes(b"longer than before")
    assert folder(here).fingerprint() != folder(there).fingerprint()
    write(here, "c.txt")
    assert len(folder(here)) == 3


def test_links_are_followed_but_loops_end(tmp_path: Path) -> None:
    root = write(tmp_path / "root", "a/1.txt", "b/2.txt")
    elsewhere = write(tmp_path / "elsewhere", "3.txt")
    (root / "a" / "up").symlink_to(root, target_is_directory=True)
    (root / "a" / "self").symlink_to(root / "a", target_is_directory=True)
    (root / "c").symlink_to(elsewhere, target_is_directory=True)
    (root / "d.txt").symlink_to(elsewhere / "3.txt")
    assert keys(folder(root)) == ["a/1.txt", "b/2.txt", "c/3.txt", "d.txt"]


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
