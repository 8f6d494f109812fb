"""Commands that a job script gives again and again: a time limit, and a start that continues what is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omnimask.cli.durations import seconds_of
from omnimask.errors import UserError
from omnimask.training.checkpoints import durable_files as files

Command = Callable[..., Any]


@pytest.mark.parametrize(
    "text, seconds",
    [("3h50m", 13_800), ("90m", 5400), ("90", 5400), ("45s", 45), ("1d12h", 129_600), ("1.5h", 5400), ("1h 0m 5s", 3605)],
)
def test_durations(text: str, seconds: float) -> None:
    assert seconds_of(text, "--max-time") == seconds


@pytest.mark.parametrize("text", ["", "soon", "m", "50m3h", "-5m", "0", "3h50", "1:30"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UserError, match=r"--max-time .*: must be a duration, such as 3h50m"):
        seconds_of(text, "--max-time")


def test_a_run_that_ends_in_time_has_its_own_exit_code(
    omnimask: Command, recipe: Path, tmp_path: Path, files_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    append = files.Appender.append

    def ticking(self: files.Appender, line: str) -> None:
        append(self, line)
        now[0] += 60

    with monkeypatch.context() as patch:
        patch.setattr(files.Appender, "append", ticking)
        patch.setattr("omnimask.training.deadline.Deadline.__init__.__defaults__", (None, lambda: now[0]))
        result = omnimask("pretrain", recipe, "train.validate_every=6", "--run", "a", "--max-time", "3m30s")
    assert result.code == 75
    assert result.err.splitlines()[-2:] == [
        "resume with: omnimask resume a",
        "error: the time limit of this attempt was reached; a checkpoint was written",
    ]
    run = files_of(tmp_path / "a")
    assert run.summary["status"] == "interrupted" and run.summary["step"] == 3
    assert omnimask("resume", "a", "--max-time", "5h").code == 0
    assert omnimask("pretrain", recipe, "train.validate_every=6", "--run", "b").code == 0
    assert files_of(tmp_path / "a").losses == files_of(tmp_path / "b").losses


def test_a_run_without_time_for_a_step_can_be_continued(omnimask: Command, recipe: Path, tmp_path: Path, files_of: Any) -> None:
    assert omnimask("pretrain", recipe, "--run", "a", "--max-time", "0.001s").code == 75
    assert files_of(tmp_path / "a").summary["step"] == 0
    assert omnimask("pretrain", recipe, "--run", "a", "--continue").code == 0
    assert files_of(tmp_path / "a").summary["status"] == "finished"
    assert sorted(files_of(tmp_path / "a").losses) == [1, 2, 3, 4, 5, 6]


def test_wrong_input_is_found_before_anything_is_written(omnimask: Command, recipe: Path, tmp_path: Path) -> None:
    assert omnimask("pretrain", recipe, "--run", "a", "--max-time", "later").code == 2
    result = omnimask("pretrain", recipe, "--continue")
    assert result.code == 2 and "--continue needs the run directory: --run DIR" in result.errors[0]
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_one_command_begins_continues_and_finds_finished(
    omnimask: Command, recipe: Path, tmp_path: Path, files_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException): ...

    append = files.Appender.append

    def killed(self: files.Appender, line: str) -> None:
        append(self, line)
        if '"step": 3,' in line:
            raise Killed

    command = ("pretrain", recipe, "train.checkpoint_every=1", "--run", "a", "--continue")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(files.Appender, "append", killed)
        omnimask(*command)
    assert omnimask(*command).code == 0
    assert files_of(tmp_path / "a").metrics[-1]["attempt"] == 2
    result = omnimask(*command)
    assert result.code == 0 and "a is finished at step 6" in result.err
    omnimask("pretrain", recipe, "--run", "b")
    assert files_of(tmp_path / "a").losses == files_of(tmp_path / "b").losses


def test_another_recipe_does_not_continue_a_run(omnimask: Command, recipe: Path, tmp_path: Path) -> None:
    assert omnimask("pretrain", recipe, "--run", "a", "--continue").code == 0
    assert omnimask("pretrain", recipe, "train.steps=8", "--run", "a", "--continue").code == 0, "more steps may be"
    result = omnimask("pretrain", recipe, "train.steps=8", "seed=5", "--run", "a", "--continue")
    assert result.code == 2 and "seed: 0 cannot change to 5 in a resumed run" in result.errors
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    result = omnimask("pretrain", recipe, "--run", "mine", "--continue")
    assert result.code == 2 and "exists and is not empty" in result.errors[0]


@pytest.mark.parametrize("left", [[], ["environment.json"], ["environment.json", "recipe.yaml.tmp"]])
def test_a_folder_that_was_begun_by_a_killed_process_is_begun_again(
    omnimask: Command, recipe: Path, tmp_path: Path, left: list[str]
) -> None:
    for name in ("checkpoints", "figures", "logs"):
        (tmp_path / "a" / name).mkdir(parents=True)
    for name in left:
        (tmp_path / "a" / name).write_text("")
    assert omnimask("pretrain", recipe, "--run", "a", "--continue").code == 0


def test_a_folder_whose_checkpoints_lack_a_recipe_is_not_begun_again(omnimask: Command, recipe: Path, tmp_path: Path) -> None:
    assert omnimask("pretrain", recipe, "--run", "a").code == 0
    (tmp_path / "a" / "recipe.yaml").unlink()
    assert omnimask("pretrain", recipe, "--run", "a", "--continue").code == 2
