"""``omnimask resume``: continues exactly, refuses what would change the run, and says when there is nothing to continue."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from omnimask import load_recipe

Command = Callable[..., Any]


@pytest.fixture
def cut(omnimask: Command, recipe: Path, tmp_path: Path, files_of: Any) -> Path:
    """A run of 6 steps that ended after step 4, at a checkpoint, as after a kill."""
    assert omnimask("pretrain", recipe, "--run", "a", "train.keep_checkpoints=9").code == 0
    shutil.rmtree(tmp_path / "a" / "checkpoints" / "step-00000006")
    (tmp_path / "a" / "summary.json").unlink()
    return tmp_path / "a"


def test_a_resumed_run_is_equal_bit_for_bit(omnimask: Command, cut: Path, files_of: Any) -> None:
    before = files_of(cut).losses
    result = omnimask("resume", "a")
    assert result.code == 0
    run = files_of(cut)
    assert run.losses == before
    assert {line["step"]: line["attempt"] for line in run.metrics} == {1: 1, 2: 1, 3: 1, 4: 1, 5: 2, 6: 2}
    assert run.summary["status"] == "finished"
    assert (cut / "recipe.yaml").exists() and not list((cut / "logs").glob("recipe*"))


@pytest.mark.parametrize(
    "change",
    [
        "train.workers=2",
        "train.micro_batch_tokens=8",
        "train.log_every=2",
        "train.validate_every=1",
        "train.checkpoint_every=1",
        "train.keep_checkpoints=3",
        "device=auto",
        "data.max_bad.at_least=20",
    ],
)
def test_what_may_change_is_written_down_and_leaves_losses_alone(omnimask: Command, cut: Path, files_of: Any, change: str) -> None:
    before, former = files_of(cut).losses, (cut / "recipe.yaml").read_text()
    result = omnimask("resume", "a", change)
    assert result.code == 0, result.err
    after = files_of(cut).losses
    exact = change != "train.micro_batch_tokens=8"
    for step, loss in after.items():
        assert loss == before[step] if exact else float.fromhex(loss) == pytest.approx(float.fromhex(before[step]), rel=1e-5)
    assert load_recipe(cut / "recipe.yaml") == load_recipe(cut / "recipe.yaml", [change])
    assert [path.read_text() for path in (cut / "logs").glob("recipe-until-step-00000004.yaml")] == [former]


def test_more_steps_continue_a_finished_run(omnimask: Command, recipe: Path, tmp_path: Path, files_of: Any) -> None:
    omnimask("pretrain", recipe, "--run", "a")
    result = omnimask("resume", "a")
    assert result.code == 0
    assert result.err.strip() == "a is finished at step 6; train.steps=N with a larger N continues training"
    assert omnimask("resume", "a", "train.steps=8").code == 0
    assert sorted(files_of(tmp_path / "a").losses) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert "is finished at step 8" in omnimask("resume", "a").err


def test_a_missing_figure_of_a_finished_run_is_drawn(omnimask: Command, recipe: Path, tmp_path: Path) -> None:
    omnimask("pretrain", recipe, "--run", "a")
    figure = tmp_path / "a" / "figures" / "reconstructions.png"
    figure.unlink()
    assert omnimask("resume", "a").code == 0
    assert figure.exists()


def test_what_may_change_is_named(omnimask: Command, cut: Path) -> None:
    assert "train.steps, train.workers" in omnimask("resume", "a", "seed=1").errors[-1]
    assert "no option 'stepz'" in omnimask("resume", "a", "train.stepz=9").errors[0]


def test_nothing_to_resume(omnimask: Command, tmp_path: Path) -> None:
    assert omnimask("resume", "nowhere").errors == ["run directory nowhere does not exist"]
    (tmp_path / "empty").mkdir()
    result = omnimask("resume", "empty")
    assert (result.code, result.errors) == (2, ["empty is not a run directory: recipe.yaml is missing"])


def test_checkpoints_that_are_gone(omnimask: Command, cut: Path) -> None:
    shutil.rmtree(cut / "checkpoints")
    result = omnimask("resume", "a")
    assert result.code == 2
    assert "reached step 6, but its checkpoints are missing" in result.errors[0]


def test_damaged_checkpoints(omnimask: Command, cut: Path, files_of: Any) -> None:
    newest = cut / "checkpoints" / "step-00000004" / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    for older in (cut / "checkpoints").glob("step-0000000[23]"):
        (older / "training.pt").write_bytes(b"")
    result = omnimask("resume", "a")
    assert result.code == 2
    assert "no intact checkpoint" in result.errors[0]


def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(omnimask: Command, cut: Path, files_of: Any) -> None:
    before = files_of(cut).losses
    (cut / "checkpoints" / "step-00000004" / "training.pt").write_bytes(b"")
    result = omnimask("resume", "a")
    assert result.code == 0
    assert "damaged checkpoint ignored" in result.err
    assert files_of(cut).losses == before


def test_a_run_without_a_first_checkpoint_begins_anew(omnimask: Command, cut: Path, files_of: Any) -> None:
    before = files_of(cut).losses
    shutil.rmtree(cut / "checkpoints")
    lines = (cut / "metrics.jsonl").read_text().splitlines(keepends=True)
    (cut / "metrics.jsonl").write_text("".join(lines[:2]))
    result = omnimask("resume", "a")
    assert result.code == 0
    assert "restarting from step 0" in result.err
    assert files_of(cut).losses == before


def test_data_may_move_and_may_not_change(
    omnimask: Command, recipe: Path, tmp_path: Path, pictures: Callable[..., Path], files_of: Any
) -> None:
    folder = pictures([8] * 12)
    omnimask("pretrain", recipe, "data={name: image.folder, path: pictures}", "--run", "a")
    moved = folder.rename(tmp_path / "moved")
    assert "does not exist" in omnimask("resume", "a", "train.steps=8").errors[0]
    assert omnimask("resume", "a", "data.path=moved", "train.steps=8").code == 0
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(moved / "another.png")
    result = omnimask("resume", "a", f"data.path={moved}", "train.steps=9")
    assert result.code == 2
    assert "the data differ from those at the start of the run (12 samples then, 13 now" in result.errors[0]


def test_a_run_of_an_older_kind_without_a_fingerprint_is_not_refused(omnimask: Command, cut: Path) -> None:
    environment = json.loads((cut / "environment.json").read_text())
    del environment["data"]
    (cut / "environment.json").write_text(json.dumps(environment))
    result = omnimask("resume", "a")
    assert result.code == 0
    assert "does not record the data of the run" in result.err
