"""Recipes that are well written and cannot be trained: exit code 2, and no folder is left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["encoder.position={name: alibi}", "encoder.summary=1"], "alibi would bias attention"),
        (["train.steps=0x8000000000000000"], "this whole number is too large for any option"),
        (["train.optimizer.lr=.inf"], "train.optimizer.lr: should be a finite number (got inf)"),
        (["train.optimizer.lr=1.0e+300"], "train.optimizer.lr: should be at most 3.4e38, float32's largest number (got 1e+300)"),
        (["train.optimizer.eps=.nan"], "train.optimizer.eps: should be"),
        (["encoder.width=1000000000"], "its tensors need more than"),
        (
            ["modalities.image.augment=[{name: image.random_resized_crop, size: 1000000000000}]"],
            "a training sample cannot be made of",
        ),
        (
            ["modalities.image.augment=[{name: image.random_resized_crop, size: 1}]"],
            "augmented, none of the first 4 samples can be used, though they can be read: ",
        ),
    ],
)
def test_it_is_refused(omnimask: Command, recipe: Path, tmp_path: Path, changes: list[str], message: str) -> None:
    result = omnimask("pretrain", recipe, *changes, "--run", "a")
    assert result.code == 2
    assert message in result.errors[0]
    assert not (tmp_path / "a").exists()
    assert omnimask("inspect", recipe, *changes).code == 2


@pytest.mark.parametrize("seed", ["0x1F", "0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", "18446744073709551616"])
def test_any_seed_trains(omnimask: Command, recipe: Path, seed: str) -> None:
    assert omnimask("pretrain", recipe, f"seed={seed}", "train.steps=1", "--run", "a").code == 0


def test_junk_that_is_nested_too_deeply(omnimask: Command, recipe: Path) -> None:
    nested = "[" * 200 + "]" * 200
    for depth in ("[" * 5000, nested):
        assert omnimask("inspect", recipe, f"encoder.width={depth}").code == 2


def test_the_trial_of_the_model_changes_no_number(
    omnimask: Command, recipe: Path, files_of: Any, tmp_path: Path, monkeypatch
) -> None:
    assert omnimask("pretrain", recipe, "--run", "a").code == 0
    monkeypatch.setattr("omnimask.run.prepare.check_model", lambda built: None)
    assert omnimask("pretrain", recipe, "--run", "b").code == 0
    assert files_of(tmp_path / "a").losses == files_of(tmp_path / "b").losses
