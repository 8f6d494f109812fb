"""Runs that are hardly meant are warned about, and keys that lie elsewhere are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


def test_few_samples_many_epochs_and_a_long_warmup(omnimask: Command, recipe: Path, pictures: Callable[..., Path]) -> None:
    data = f"data={{name: image.folder, path: {pictures([8] * 3)}, validation: 0}}"
    changes = [data, "train.batch_tokens=40000", "train.schedule={name: cosine, warmup: 4}"]
    for command in (("inspect", recipe), ("pretrain", recipe, "--run", "a", "--max-time", "1s")):
        told = omnimask(*command, *changes).err
        assert "warning: only 3 training samples; the model will memorize them" in told
        assert "warning: the run makes 20,000 epochs over 3 samples (6 steps of 40,000 tokens)" in told
        assert "warning: the learning rate warms up for 4 of 6 steps (train.schedule.warmup: 4)" in told


def test_an_ordinary_run_is_not_warned_about(omnimask: Command) -> None:
    assert "warning" not in omnimask("inspect", "image").err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("ratio=0.5", "ratio: unknown key; did you mean modalities.image.masker.ratio?"),
        ("masker.ratio=0.5", "masker.ratio: unknown key; did you mean modalities.image.masker.ratio?"),
        ("lr=1", "lr: unknown key; did you mean train.optimizer.lr?"),
        ("modalities.images.masker.ratio=0.5", "unknown modality 'images' (did you mean 'image'?); modalities: image"),
        ("train.optimizer.lr=1,00e-3", '(got "1,00e-3"); use a decimal'),
        ("train.max_time=5m", "'max_time' is not a recipe key but an option of the command: --max-time 3h50m"),
    ],
)
def test_keys_and_values_that_are_meant_otherwise(omnimask: Command, recipe: Path, change: str, message: str) -> None:
    result = omnimask("inspect", recipe, change)
    assert result.code == 2
    assert message in result.errors[0]


def test_a_joint_masker_may_still_be_given(omnimask: Command, recipe: Path) -> None:
    assert "no such key" not in omnimask("inspect", recipe, "corruptor={name: drop}").err


def test_folders_are_no_recipes(omnimask: Command, recipe: Path, pictures: Callable[..., Path]) -> None:
    folder = pictures([8] * 3)
    assert f"To write a recipe for the data in it: `omnimask init {folder}`" in omnimask("pretrain", folder).errors[0]
    assert omnimask("pretrain", recipe, "--run", "a", "train.steps=1").code == 0
    (message,) = omnimask("inspect", "a").errors
    assert message == "a is a folder; its recipe is a/recipe.yaml. To continue a run: `omnimask resume a`"


def test_numbers_that_break_down_are_told_what_can_still_help(omnimask: Command, recipe: Path) -> None:
    result = omnimask("pretrain", recipe, "train.optimizer.lr=1e30", "train.steps=40", "train.checkpoint_every=40", "--run", "a")
    assert result.code == 1
    assert "there is no checkpoint yet. Lower the learning rate, or set train.clip" in result.err
    assert "fp32" not in result.err
