"""Runs that meet bad data or a full disk. ``tests/faults`` has every kind of fault."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from omnimask.training.checkpoints import durable_files as files
from omnimask.training.checkpoints.directory import verify

Command = Callable[..., Any]


def test_unreadable_images_are_left_out_and_counted(
    omnimask: Command, recipe: Path, tmp_path: Path, pictures: Callable[..., Path], files_of: Any
) -> None:
    folder = pictures([8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 2])
    (folder / "001.png").write_bytes(b"no picture")
    (folder / "002.png").write_bytes((folder / "003.png").read_bytes()[:60])
    result = omnimask(
        "pretrain", recipe, "data={name: image.folder, path: pictures, validation: 0}", "--run", "a", "train.workers=1"
    )
    assert result.code == 0, result.err
    run = files_of(tmp_path / "a")
    assert set(run.summary["bad_samples"]) == {"001.png", "002.png", "010.png"}
    assert run.metrics[-1]["bad_samples"] == 3
    assert "3 unreadable samples skipped" in result.err
    log = (run.path / "logs" / "rank0.log").read_text(encoding="utf-8")
    assert "001.png: ValueError: not a readable image" in log
    assert "010.png: ValueError: image is 2 x 2, smaller than one patch of 4 x 4" in log


def test_a_folder_without_a_readable_image_starts_no_run(
    omnimask: Command, recipe: Path, tmp_path: Path, pictures: Callable[..., Path]
) -> None:
    pictures([2, 3, 2])
    result = omnimask("pretrain", recipe, "data={name: image.folder, path: pictures, validation: 0}", "--run", "a")
    assert result.code == 2
    assert "none of the 3 training samples is readable" in result.errors[0]
    assert "000.png: ValueError: image is 2 x 2, smaller than one patch of 4 x 4" in result.err
    assert not (tmp_path / "a").exists()


def test_a_disk_that_is_full_from_the_start(
    omnimask: Command, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "_write", full)
    result = omnimask("pretrain", recipe, "--run", "a")
    assert result.code == 1
    assert not (tmp_path / "a" / "recipe.yaml").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 900 kB, where this process may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", str(disk)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_really_fills_up(omnimask: Command, recipe: Path, small_disk: Path, files_of: Any) -> None:
    result = omnimask("pretrain", recipe, "--run", small_disk / "a", "train.keep_checkpoints=9", "train.steps=40")
    assert result.code == 1
    assert "No space left on device" in result.errors[0] and "lower train.keep_checkpoints" in result.errors[0]
    assert not list(small_disk.rglob("*.tmp"))
    checkpoints = sorted((small_disk / "a" / "checkpoints").glob("step-*"))
    assert checkpoints
    for checkpoint in checkpoints:
        verify(checkpoint)
    result = omnimask("resume", small_disk / "a", "train.keep_checkpoints=2")
    assert result.code == 0, result.err
    assert sorted(files_of(small_disk / "a").losses) == list(range(1, 41))
