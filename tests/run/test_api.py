"""The functions for notebooks and scripts: what they return, and what a notebook shows of it."""

from __future__ import annotations

import base64
import signal
from pathlib import Path

import pytest

import omnimask
from omnimask.errors import Interrupted, UserError
from omnimask.recipe import load_recipe
from omnimask.run.api import Finished

CHANGES = ["device=cpu", "train.checkpoint_every=1"]


def test_a_run_shows_its_figure_and_goes_on(tmp_path: Path) -> None:
    recipe = load_recipe("image/digits", CHANGES, smoke=True)
    run = omnimask.pretrain(recipe, tmp_path / "run", show=False)
    steps = run.summary["step"]
    assert repr(run).startswith(f"{tmp_path / 'run'}: finished at step {steps}, loss ")
    assert [figure.name for figure in run.figures] == ["reconstructions.png"]
    shown = run._repr_mimebundle_()
    assert base64.b64decode(shown["image/png"]).startswith(b"\x89PNG")
    assert shown["text/plain"] == repr(run)
    run.figures[0].unlink()
    again = omnimask.resume(tmp_path / "run", show=False)
    assert (again.summary, len(again.figures)) == (run.summary, 1)
    longer = omnimask.resume(tmp_path / "run", [f"train.steps={steps + 1}"], show=False)
    assert longer.summary["step"] == steps + 1


def test_changes_and_loaded_recipes(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="load_recipe"):
        omnimask.pretrain(load_recipe("image/digits"), tmp_path / "run", ["train.steps=1"])
    with pytest.raises(UserError, match="did you mean 'steps'"):
        omnimask.pretrain("image/digits", tmp_path / "run", ["train.step=1"])
    assert not (tmp_path / "run").exists()


def test_a_run_without_a_picture_is_shown_as_text(tmp_path: Path) -> None:
    (tmp_path / "reconstructions.txt").write_text("a b")
    summary = {"status": "finished", "step": 3, "loss": 0.5, "best_validation_loss": None}
    run = Finished(tmp_path, summary, (tmp_path / "reconstructions.txt",))
    assert run._repr_mimebundle_() == {"text/plain": f"{tmp_path}: finished at step 3, loss 0.5000"}


def test_interrupting_leaves_a_checkpoint_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from omnimask.training.loop import Trainer

    original = Trainer._take_step

    def interrupted(self: Trainer, *arguments: object) -> None:
        original(self, *arguments)  # pyright: ignore[reportArgumentType]
        if self.progress.step == 1:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Trainer, "_take_step", interrupted)
    with pytest.raises(Interrupted):
        omnimask.pretrain(load_recipe("image/digits", CHANGES, smoke=True), tmp_path / "run", show=False)
    assert (tmp_path / "run" / "checkpoints" / "step-00000001").is_dir()
    assert f"continue with omnimask.resume('{tmp_path / 'run'}')" in caplog.text
    assert omnimask.resume(tmp_path / "run", show=False).summary["status"] == "finished"
