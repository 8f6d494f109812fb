"""Runs that meet bad data, a full disk or a signal."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from omnimask.training import files
from omnimask.training.checkpoint import verify

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
    assert "3 unreadable samples left out" in result.err
    log = (run.path / "logs" / "rank0.log").read_text(encoding="utf-8")
    assert "001.png: ValueError: not a readable image" in log
    assert "010.png: ValueError: image is 2 x 2, smaller than one patch of 4 x 4" in log


def test_a_folder_without_a_readable_image_starts_no_run(
    omnimask: Command, recipe: Path, tmp_path: Path, pictures: Callable[..., Path]
) -> None:
    pictures([2, 3, 2])
    result = omnimask("pretrain", recipe, "data={name: image.folder, path: pictures, validation: 0}", "--run", "a")
    assert result.code == 2
    assert "none of the 3 training samples can be read" in result.errors[0]
    assert "000.png: ValueError: image is 2 x 2, smaller than one patch of 4 x 4" in result.err
    assert not (tmp_path / "a").exists()


def test_too_many_unreadable_images_stop_the_run(
    omnimask: Command, recipe: Path, tmp_path: Path, pictures: Callable[..., Path], files_of: Any
) -> None:
    pictures([8, *[2] * 5])
    data = "data={name: image.folder, path: pictures, validation: 0, max_bad: {at_least: 2}}"
    result = omnimask("pretrain", recipe, data, "--run", "a")
    assert result.code == 1
    assert "samples cannot be read, and 2 are tolerated" in result.errors[0]
    assert files_of(tmp_path / "a").summary["status"] == "stopped"
    assert omnimask("resume", "a", "data.max_bad.at_least=5").code == 0


def test_a_full_disk_leaves_the_last_checkpoint_intact(
    omnimask: Command, recipe: Path, tmp_path: Path, files_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, full = files._write, False

    def limited(file: Any, data: Any) -> None:
        nonlocal full
        full = full or "step-00000004" in str(getattr(file, "name", ""))
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(file, data)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_write", limited)
        result = omnimask("pretrain", recipe, "--run", "a", "train.validate_every=6")
    assert result.code == 1
    assert len(result.errors) == 1
    assert "No space left on device" in result.errors[0]
    run = files_of(tmp_path / "a")
    assert [name for name in run.checkpoints if name.startswith("step")] == ["step-00000002"]
    verify(run.path / "checkpoints" / "step-00000002")
    assert not list(run.path.rglob("*.tmp"))
    assert omnimask("resume", "a").code == 0
    assert sorted(files_of(tmp_path / "a").losses) == [1, 2, 3, 4, 5, 6]


def test_a_disk_that_is_full_from_the_start(
    omnimask: Command, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "_write", full)
    result = omnimask("pretrain", recipe, "--run", "a")
    assert result.code == 1
    assert not (tmp_path / "a" / "recipe.yaml").exists()


@pytest.mark.parametrize("signum, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_run_after_a_checkpoint(
    omnimask: Command,
    recipe: Path,
    tmp_path: Path,
    files_of: Any,
    monkeypatch: pytest.MonkeyPatch,
    signum: int,
    code: int,
) -> None:
    append = files.Appender.append

    def signalled(self: files.Appender, line: str) -> None:
        append(self, line)
        if '"step": 3,' in line and '"lr"' in line:
            os.kill(os.getpid(), signum)

    with monkeypatch.context() as patch:
        patch.setattr(files.Appender, "append", signalled)
        result = omnimask("pretrain", recipe, "--run", "a")
    assert result.code == code
    assert result.err.splitlines()[-2:] == [
        "continue with: omnimask resume a",
        f"error: interrupted by signal {signum}; a checkpoint was written before",
    ]
    assert files_of(tmp_path / "a").summary["status"] == "interrupted"
    assert "step-00000003" in files_of(tmp_path / "a").checkpoints
    assert omnimask("resume", "a").code == 0
    omnimask("pretrain", recipe, "--run", "b")
    assert files_of(tmp_path / "a").losses == files_of(tmp_path / "b").losses


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
