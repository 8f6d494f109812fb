"""Runs whose views have several sequences of a sample: resumed bit for bit, inspected and drawn; and runs begun before the keys."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omnimask.recipe import Recipe

from ..tiny_recipes import TEXT

Command = Callable[..., Any]

SHORT = (
    "train.steps=6",
    "train.checkpoint_every=2",
    "train.log_every=1",
    "train.keep_checkpoints=9",
    "train.validate_every=3",
    "data.max_validation=8",
)
OLD = "{name: substitute, ask: all}"
FOUND = "predictors:\n  - {name: in_place, target: {name: was_replaced}}"


def cut(run: Path) -> None:
    """The run ended after step 4, as after a kill."""
    shutil.rmtree(run / "checkpoints" / "step-00000006")
    (run / "summary.json").unlink()


def weights(run: Path) -> bytes:
    return (run / "checkpoints" / "step-00000006" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("views", ["main: {repeat: 3}", "main: {repeat: 2, draw: own}"])
def test_a_resumed_run_with_repetitions_is_equal_bit_for_bit(
    omnimask: Command, recipe: Path, tmp_path: Path, files_of: Any, views: str
) -> None:
    recipe.write_text(recipe.read_text() + f"views: {{{views}}}\n")
    assert omnimask("pretrain", recipe, "--run", "a", "train.keep_checkpoints=9").code == 0
    run = tmp_path / "a"
    losses, after = files_of(run).losses, weights(run)
    assert len(losses) == 6
    cut(run)
    assert omnimask("resume", "a", "train.workers=2").code == 0
    assert files_of(run).losses == losses
    assert weights(run) == after


def test_a_run_begun_with_the_option_of_corruptors_continues(
    omnimask: Command, tmp_path: Path, files_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "old.yaml"
    assert "{name: mask_token}" in TEXT and "predictors:\n  - {name: mlm}" in TEXT
    path.write_text(TEXT.replace("{name: mask_token}", OLD).replace("predictors:\n  - {name: mlm}", FOUND))
    written = Recipe.to_yaml
    with monkeypatch.context() as before:
        before.setattr(Recipe, "to_yaml", lambda recipe: as_before(written(recipe)))
        result = omnimask("pretrain", path, "--run", "a", *SHORT)
    assert result.code == 0, result.err
    run = tmp_path / "a"
    losses, after = files_of(run).losses, weights(run)
    cut(run)
    assert OLD in (run / "recipe.yaml").read_text() and "views" not in (run / "recipe.yaml").read_text()
    result = omnimask("resume", "a")
    assert result.code == 0, result.err
    assert files_of(run).losses == losses
    assert weights(run) == after
    assert not (run / "history.jsonl").exists()


def as_before(resolved: str) -> str:
    """The text that an earlier version wrote into run directories."""
    new, views = "{name: substitute}", "views:\n  main: {ask: all}\n"
    assert new in resolved and views in resolved
    return resolved.replace(new, OLD).replace(views, "")


def test_inspection_and_pictures(omnimask: Command, recipe: Path, tmp_path: Path) -> None:
    once = json.loads(omnimask("inspect", recipe, "--json").out)
    recipe.write_text(recipe.read_text() + "views: {main: {repeat: 4}}\n")
    found = omnimask("inspect", recipe, "--json", "--figure", "masks.png")
    assert found.code == 0, found.err
    four = json.loads(found.out)
    assert (once["slots_per_token"], four["slots_per_token"] > 4) == (1.0, True)
    assert 3.5 < four["flops"] / once["flops"] < 4.1
    assert list(tmp_path.glob("masks*.png"))
    assert omnimask("pretrain", recipe, "--run", "a").code == 0
    drawn = omnimask("reconstruct", "a", "--output", "filled.png")
    assert drawn.code == 0, drawn.err
