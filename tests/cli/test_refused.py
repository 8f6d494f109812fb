"""Odd values: every seed trains, deep nesting is refused, and the trial of the model changes no number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


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
