"""``omnimask pretrain``: a run's files, and what a command leaves alone."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from omnimask import load_recipe
from omnimask.recipe import shipped_recipes

Command = Callable[..., Any]


def test_a_run_leaves_everything_that_its_directory_promises(
    omnimask: Command, recipe: Path, tmp_path: Path, files_of: Any
) -> None:
    result = omnimask("pretrain", recipe, "--run", "a")
    assert result.code == 0
    assert result.out == ""
    run = files_of(tmp_path / "a")
    assert sorted(path.name for path in run.path.iterdir() if not path.name.startswith(".")) == [
        "checkpoints",
        "environment.json",
        "figures",
        "logs",
        "metrics.jsonl",
        "recipe.yaml",
        "summary.json",
    ]
    assert sorted(run.losses) == [1, 2, 3, 4, 5, 6]
    assert run.summary["status"] == "finished"
    assert run.environment["plugins"] == {"omnimask": run.environment["versions"]["omnimask"]}
    assert run.environment["data"]["samples"] == 1797
    with Image.open(run.path / "figures" / "reconstructions.png") as picture:
        assert picture.width > 300
    assert load_recipe(run.path / "recipe.yaml") == load_recipe(recipe)
    assert "finished at step 6 of 6" in result.err.splitlines()[-1]
    assert "a: summary.json, metrics.jsonl, figures/reconstructions.png" in result.err.splitlines()[-1]


def test_two_runs_of_a_recipe_are_equal_bit_for_bit(omnimask: Command, recipe: Path, tmp_path: Path, files_of: Any) -> None:
    omnimask("pretrain", recipe, "--run", "a")
    omnimask("pretrain", recipe, "--run", "b", "train.micro_batch_tokens=32")
    assert files_of(tmp_path / "a").losses == files_of(tmp_path / "b").losses


def test_runs_without_a_folder_are_numbered(omnimask: Command, recipe: Path, tmp_path: Path) -> None:
    omnimask("pretrain", recipe, "train.steps=1")
    omnimask("pretrain", recipe, "train.steps=1")
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["tiny-1", "tiny-2"]


def test_a_smoke_run_keeps_nothing(omnimask: Command, recipe: Path, tmp_path: Path) -> None:
    result = omnimask("pretrain", recipe, "--smoke")
    assert result.code == 0
    assert "tiny: finished at step 6 of 6, loss " in result.err
    assert "nothing was kept" in result.err
    assert [path.name for path in tmp_path.iterdir() if path.name != ".cache"] == ["tiny.yaml"]


def test_a_smoke_run_with_a_folder_is_kept(omnimask: Command, recipe: Path, tmp_path: Path) -> None:
    assert omnimask("pretrain", recipe, "--smoke", "--run", "s").code == 0
    assert (tmp_path / "s" / "summary.json").exists()


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_shipped_recipe_passes_its_smoke_run(omnimask: Command, name: str) -> None:
    result = omnimask("pretrain", name, "--smoke", "device=cpu")
    assert result.code == 0, result.err
    assert f"{name}: finished" in result.err


def test_relative_data_paths_are_written_absolute(
    omnimask: Command, recipe: Path, tmp_path: Path, pictures: Callable[..., Path]
) -> None:
    pictures([8] * 12)
    assert omnimask("pretrain", recipe, "data={name: image.folder, path: pictures}", "--run", "a").code == 0
    loaded = load_recipe(tmp_path / "a" / "recipe.yaml")
    assert loaded.data.dataset.options["path"] == tmp_path / "pictures"


def test_a_command_leaves_global_state_alone(omnimask: Command, recipe: Path) -> None:
    logger = logging.getLogger("omnimask")

    def state() -> tuple[Any, ...]:
        handlers = tuple(signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1))
        return handlers, tuple(logger.handlers), logger.level, torch.get_num_threads(), tuple(logging.getLogger().handlers)

    before = state()
    for arguments in (("pretrain", recipe, "--run", "a"), ("resume", "a"), ("inspect", recipe), ("pretrain", "no-such-recipe")):
        omnimask(*arguments)
        assert state() == before
