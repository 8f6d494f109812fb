"""Digests of contents: what they follow, what is kept, what is read again."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest

from omnimask.data import file_digests as contents
from omnimask.data.file_digests import content_digest, files_state


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("OMNIMASK_CACHE", str(folder))
    return folder


def write(path: Path, data: bytes, age: float = 3600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (time.time() - age,) * 2)
    return path


def digest(folder: Path) -> str:
    return content_digest((path.name, path) for path in sorted(folder.iterdir()))


def read_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read from now on."""
    found: list[str] = []
    read = contents._read

    def noted(file: contents._File) -> bytes:
        found.append(file.name)
        return read(file)

    monkeypatch.setattr(contents, "_read", noted)
    return found


def test_it_follows_names_and_contents_and_neither_places_nor_times(tmp_path: Path) -> None:
    write(tmp_path / "here" / "a", b"one"), write(tmp_path / "here" / "b", b"two")
    write(tmp_path / "there" / "a", b"one", age=7), write(tmp_path / "there" / "b", b"two")
    assert digest(tmp_path / "here") == digest(tmp_path / "there")
    write(tmp_path / "there" / "b", b"tow")
    assert digest(tmp_path / "here") != digest(tmp_path / "there")
    (tmp_path / "there" / "b").rename(tmp_path / "there" / "c")
    write(tmp_path / "there" / "c", b"two")
    assert digest(tmp_path / "here") != digest(tmp_path / "there")


def test_a_file_is_read_once_and_again_when_anything_happens_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a", b"one"), write(tmp_path / "b", b"two")
    read = read_files(monkeypatch)
    first = digest(tmp_path)
    assert digest(tmp_path) == first
    assert read == ["a", "b"]
    status = (tmp_path / "b").stat()
    (tmp_path / "b").write_bytes(b"tow")
    os.utime(tmp_path / "b", ns=(status.st_atime_ns, status.st_mtime_ns))  # as if nothing had happened
    assert digest(tmp_path) != first
    assert read == ["a", "b", "b"]


def test_what_has_just_changed_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a", b"one", age=0)
    read = read_files(monkeypatch)
    assert digest(tmp_path) == digest(tmp_path)
    assert read == ["a", "a"]


def test_a_file_that_cannot_be_read_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "gone")
    before = digest(tmp_path)
    (tmp_path / "a").unlink()
    write(tmp_path / "a", b"there")
    assert digest(tmp_path) != before


def test_of_large_data_blocks_are_read_and_the_state_sees_every_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "WHOLE", 100_000)
    monkeypatch.setattr(contents, "_BLOCK", 1000)
    data = bytearray(os.urandom(1_000_000))
    first = digest(write(tmp_path / "a", data).parent)
    state = files_state([tmp_path / "a"])
    data[-1] ^= 1
    assert digest(write(tmp_path / "a", data).parent) != first
    assert files_state([tmp_path / "a"]) != state


def test_a_damaged_cache_is_replaced(tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "a", b"one")
    first = digest(tmp_path)
    (file,) = cache.rglob("*.npy")
    file.write_bytes(b"rubbish")
    assert digest(tmp_path) == first
    assert "digests of files" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert digest(tmp_path) == first
    assert not caplog.records
