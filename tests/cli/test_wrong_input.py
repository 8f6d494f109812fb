"""Wrong input that depends on the machine or on former runs, and bugs; `test_bad_recipes.py` has the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Command = Callable[..., Any]


def test_all_problems_of_a_recipe_are_told_at_once(omnimask: Command, recipe: Path) -> None:
    result = omnimask("pretrain", recipe, "train.stepps=3", "seed=-1", "encoder.heads=none")
    assert result.code == 2
    assert len(result.errors) == 3


def test_an_unknown_command_is_named(omnimask: Command) -> None:
    result = omnimask("pretrian")
    assert (result.code, len(result.errors)) == (2, 1)
    assert "pretrian" in result.errors[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there(omnimask: Command, recipe: Path, tmp_path: Path) -> None:
    result = omnimask("pretrain", recipe, "device=cuda", "--run", "a")
    assert result.code == 2
    assert "cuda requested, but torch" in result.errors[0]
    assert not (tmp_path / "a").exists()


def test_a_folder_that_holds_a_run_is_not_touched(omnimask: Command, recipe: Path, tmp_path: Path) -> None:
    assert omnimask("pretrain", recipe, "--run", "a").code == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")}
    result = omnimask("pretrain", recipe, "--run", "a")
    assert result.code == 2
    assert "continue that run with `omnimask resume a`" in result.errors[0]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")} == before


def test_a_bug_shows_its_traceback(omnimask: Command, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("omnimask.run.prepare.build", fail)
    result = omnimask("pretrain", recipe, traceback=True)
    assert result.code == 70
    assert "Please report it" in result.errors[-1]
