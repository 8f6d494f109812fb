"""A run writes inside of its own folder alone, wherever symbolic links in it lead."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnimask.errors import UserError
from omnimask.training.checkpoints import durable_files as files
from omnimask.training.checkpoints.run_directory import RunDirectory

NAMES = (
    "recipe.yaml",
    "metrics.jsonl",
    "summary.json",
    "history.jsonl",
    "environment.json",
    ".lock",
    "logs",
    "figures",
    "checkpoints",
    "logs/rank0.log",
    "figures/reconstructions.png",
    "checkpoints/step-00000004",
    "checkpoints/best.json",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    (run / name).parent.mkdir(parents=True, exist_ok=True)
    (run / name).symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match=r"is a symbolic link to .*outside"):
        RunDirectory(run).prepare()
    assert not (tmp_path / "outside").exists()


def test_links_that_stay_inside_and_a_linked_run_are_none_of_its_business(tmp_path: Path) -> None:
    (tmp_path / "real" / "logs").mkdir(parents=True)
    (tmp_path / "run").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "logs" / "latest.log").symlink_to("rank0.log")
    (tmp_path / "real" / "notes").symlink_to(tmp_path)
    RunDirectory(tmp_path / "run").prepare()


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").symlink_to(tmp_path / "metrics.jsonl")
    with pytest.raises(UserError, match="symbolic link"):
        RunDirectory(tmp_path).prepare()


def test_no_writer_follows_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    for name in ("file", "file.tmp"):
        (tmp_path / name).symlink_to(outside)
    with pytest.raises(OSError):
        files.Appender(tmp_path / "file")
    with pytest.raises(OSError):
        files.open_own(tmp_path / "file")
    files.replace(tmp_path / "file", b"new")
    assert (outside.read_text(), (tmp_path / "file").read_bytes()) == ("mine", b"new")


def test_a_new_run_is_not_begun_around_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "logs").symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match="is not empty"):
        RunDirectory(tmp_path / "run").check_new()
