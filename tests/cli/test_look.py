"""``omnimask reconstruct`` and ``omnimask inspect``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from omnimask import load_recipe
from omnimask.recipe.yaml_text import parse

Command = Callable[..., Any]


@pytest.fixture
def run(omnimask: Command, recipe: Path, tmp_path: Path) -> Path:
    assert omnimask("pretrain", recipe, "--run", "a", "train.ema=0.9").code == 0
    return tmp_path / "a"


def test_reconstruct_draws_held_out_samples(omnimask: Command, run: Path) -> None:
    result = omnimask("reconstruct", "a")
    assert result.code == 0
    assert result.out.splitlines() == ["a/figures/reconstructions-step-00000006.png"]
    again = omnimask("reconstruct", "a", "--checkpoint", "step-00000006", "--output", "again.png")
    assert again.out.splitlines() == ["again.png"]
    assert (run.parent / "again.png").read_bytes() == (run / "figures" / "reconstructions-step-00000006.png").read_bytes()


def test_reconstruct_takes_a_count_and_a_checkpoint(omnimask: Command, run: Path) -> None:
    omnimask("reconstruct", "a", "--count", "2", "--output", "two.png", "--checkpoint", "last")
    omnimask("reconstruct", "a", "--count", "4", "--output", "four.png")
    heights = [Image.open(run.parent / name).height for name in ("two.png", "four.png")]
    assert heights[1] > 1.5 * heights[0]


def test_reconstruct_reads_a_file_of_the_users(omnimask: Command, run: Path) -> None:
    Image.fromarray(np.full((20, 30, 3), 200, np.uint8)).save("mine.jpg")
    result = omnimask("reconstruct", "a", "--input", "mine.jpg", "--count", "2")
    assert result.out.splitlines() == ["a/figures/mine-step-00000006.png"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere"], "run directory nowhere does not exist"),
        (["a", "--input", "none.png"], "--input: none.png does not exist"),
        (["a", "--input", "text.png"], "text.png: not a readable image"),
        (["a", "--checkpoint", "step-9"], "has no checkpoint 'step-9'; checkpoints: best, last, step-00000004, step-00000006"),
        (["a", "--modality", "sound", "--input", "text.png"], "this run has no 'sound'; it has image"),
        (["a", "--count", "0"], "--count"),
    ],
)
def test_reconstruct_says_what_is_wrong(omnimask: Command, run: Path, arguments: list[str], message: str) -> None:
    Path("text.png").write_text("no image")
    result = omnimask("reconstruct", *arguments)
    assert result.code == 2
    assert message in result.errors[0]


def test_reconstruct_refuses_a_damaged_checkpoint(omnimask: Command, run: Path) -> None:
    (run / "checkpoints" / "step-00000006" / "ema.safetensors").write_bytes(b"")
    result = omnimask("reconstruct", "a", "--checkpoint", "step-00000006")
    assert result.code == 2
    assert "is damaged: ema.safetensors has 0 of" in result.errors[0]


def test_inspect_shows_a_loadable_recipe_and_the_numbers(omnimask: Command, recipe: Path, tmp_path: Path) -> None:
    result = omnimask("inspect", recipe, "--json")
    assert result.code == 0
    found = json.loads(result.out)
    resolved = load_recipe(recipe)
    assert found["recipe"] == parse(resolved.to_yaml(), "recipe").data
    assert list(found["parameters"]) == ["embedding image", "encoder", "predictor decoder"]
    assert found["parameters"]["embedding image"] == 16 * 16 + 16
    assert (found["samples_per_step"], found["tokens_per_step"], found["micro_batches"]) == (8, 32, 1)
    assert found["tokens_per_sample"] == [4, 4.0, 4]
    assert found["steps_per_epoch"] == pytest.approx(found["num_samples"] / 8)
    assert found["not_exact"] == []
    assert not (tmp_path / "runs").exists()


def test_inspect_counts_operations_and_memory_like_a_count_by_hand(omnimask: Command, recipe: Path) -> None:
    found = json.loads(omnimask("inspect", recipe, "--json", "train.ema=0.99").out)
    width, hidden, pixels, visible, tokens, mlp = 16, 2, 16, 2, 4, 4

    def block(length: int) -> int:
        return length * width * width * (4 + 2 * mlp) + 2 * length * length * width

    embedding, encoder = visible * pixels * width, block(visible)
    decoder = visible * width * width + block(tokens) + hidden * width * pixels
    everywhere = 8 * 3 * 2 * (embedding + encoder + decoder)
    assert 0.6 * everywhere < found["flops"] <= everywhere  # a last block leaves out what nobody reads
    twice = json.loads(omnimask("inspect", recipe, "--json", "train.batch_tokens=64").out)
    assert twice["flops"] == 2 * found["flops"]
    parameters = sum(found["parameters"].values())
    memory = found["memory"]
    assert [memory[name] / parameters for name in ("parameters", "gradients", "optimizer", "ema")] == [4, 4, 8, 4]
    assert memory["activations"] > 8 * tokens * width * 4


def test_inspect_fits_a_terminal_and_ends_with_its_rules(omnimask: Command, recipe: Path) -> None:
    result = omnimask("inspect", recipe)
    tables = result.out[result.out.index("parameters\n") :]
    assert max(map(len, tables.splitlines())) <= 80
    assert "8 samples, 32 tokens, in 1 micro-batch of up to 32" in tables
    assert "forward and backward pass of a few samples" in tables


def test_inspect_draws_the_masks(omnimask: Command, recipe: Path, tmp_path: Path) -> None:
    result = omnimask("inspect", recipe, "--figure", "masks.png")
    assert result.code == 0
    with Image.open(tmp_path / "masks.png") as picture:
        assert picture.height > picture.width  # four rows of two columns
    assert "masks drawn in masks.png" in result.err
