"""Whatever is wrong with the input is found before anything is written: exit code 2 and a message that helps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Command = Callable[..., Any]

WRONG = {
    "unknown recipe": (["imgae"], "no recipe is called 'imgae' (did you mean 'image'?)"),
    "unknown key": (["{recipe}", "train.stepps=3"], "no option 'stepps' (did you mean 'steps'?)"),
    "wrong type": (["{recipe}", "train.steps=many"], "train.steps: should be a valid integer"),
    "out of range": (["{recipe}", "modalities.image.masker.ratio=1.5"], "ratio: should be less than or equal to 1 (got 1.5)"),
    "more threads than a machine has": (
        ["{recipe}", "train.threads=1000000000000"],
        "train.threads: should be less than or equal to 4096",
    ),
    "unknown component": (
        ["{recipe}", "modalities.image.masker={name: randon}"],
        "unknown masker 'randon' (did you mean 'random'?)",
    ),
    "missing parameter": (["{recipe}", "data={name: image.folder}"], "data.path"),
    "newer format": (["{recipe}", "omnimask=99"], "it needs a newer version"),
    "missing folder": (["{recipe}", "data={name: image.folder, path: nowhere}"], "nowhere does not exist"),
    "empty folder": (["{recipe}", "data={name: image.folder, path: empty}"], "holds no files ending in"),
    "no override": (["{recipe}", "steps"], "an override has the form key=value"),
    "mismatch": (
        ["{recipe}", "predictors=[{name: in_place, target: {name: patch}}]"],
        "use a predictor with a decoder, or a corruptor that keeps hidden tokens' places (mask_token)",
    ),
    "patch size": (["{recipe}", "modalities.image.tokenizer.patch_size=3"], "cannot be cut into patches of 3 x 3"),
    "warmup": (["{recipe}", "train.schedule={name: cosine, warmup: 50}"], "warmup 50 is longer than the run of 6 steps"),
    "no argument": ([], "Missing argument 'RECIPE'"),
    "unknown option": (["{recipe}", "--runn", "a"], "No such option"),
}


@pytest.mark.parametrize("arguments, message", WRONG.values(), ids=WRONG)
def test_wrong_input(omnimask: Command, recipe: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.iterdir())
    result = omnimask(
        "pretrain", *(argument.format(recipe=recipe) if argument == "{recipe}" else argument for argument in arguments)
    )
    assert result.code == 2
    assert any(message in error for error in result.errors), result.err
    assert result.out == ""
    assert sorted(tmp_path.iterdir()) == before


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
    assert "cuda is asked for, and torch" in result.errors[0]
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
