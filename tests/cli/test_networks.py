"""Commands on runs with several networks and passes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from omnimask import load_encoder

from ..tiny_recipes import LATENT, REPLACED

Command = Callable[..., Any]
SHORT = ("train.steps=4", "train.validate_every=4", "train.checkpoint_every=4")
LONGEST = 80


@pytest.fixture
def run(omnimask: Command, tmp_path: Path) -> Callable[[str], Path]:
    """Trains a recipe for four steps."""

    def trained(recipe: str) -> Path:
        Path("recipe.yaml").write_text(recipe, encoding="utf-8")
        result = omnimask("pretrain", "recipe.yaml", "--run", "a", *SHORT)
        assert result.code == 0, result.err
        return tmp_path / "a"

    return trained


def test_inspect_counts_networks_and_what_is_trained(omnimask: Command) -> None:
    Path("recipe.yaml").write_text(LATENT, encoding="utf-8")
    lines = omnimask("inspect", "recipe.yaml").out.splitlines()
    assert max(map(len, lines[lines.index("parameters") :])) <= LONGEST
    rows = {" ".join(words[:-1]): words[-1] for words in map(str.split, lines[lines.index("parameters") + 1 :]) if words}
    assert rows["teacher encoder"] == rows["main encoder"] == "38,208"
    assert int(rows["trained"].replace(",", "")) < int(rows["all"].replace(",", ""))
    found = json.loads(omnimask("inspect", "recipe.yaml", "--json").out)
    assert found["num_trained"] == sum(number for name, number in found["parameters"].items() if "teacher" not in name)
    assert found["memory"]["parameters"] > found["memory"]["gradients"] == 4 * found["num_trained"]


def test_a_latent_run_is_evaluated_exported_and_drawn(omnimask: Command, run: Callable[[str], Path]) -> None:
    folder = run(LATENT)
    evaluated = omnimask("evaluate", "a", "--probe", "knn", "--draws", "2", "--limit", "100")
    assert evaluated.code == 0, evaluated.err
    assert "accuracy in %" in evaluated.out and max(map(len, evaluated.out.splitlines())) <= LONGEST
    drawn = omnimask("reconstruct", "a", "--output", "latent.png")
    assert drawn.out.splitlines() == ["latent.png"]
    picture = np.asarray(Image.open("latent.png").convert("RGB"))
    assert picture.shape[1] < 500  # two columns of 1.7 inches: nothing is filled in
    assert (folder / "figures" / "reconstructions.png").is_file()
    exported = omnimask("export", "a", "out", "--to", "safetensors")
    assert exported.code == 0 and "bit for bit" in exported.err
    pictures = [np.full((8, 8), value, np.uint8) for value in (0, 100)]
    assert np.array_equal(load_encoder("out").encode(pictures), load_encoder("a").encode(pictures))


def test_a_backbone_chooses_the_teacher(omnimask: Command, run: Callable[[str], Path]) -> None:
    """Its features differ from those of the network it follows."""
    run(LATENT)
    run_of_teacher = LATENT.replace("predictors:", "backbone: teacher\npredictors:")
    Path("teacher.yaml").write_text(run_of_teacher, encoding="utf-8")
    assert omnimask("pretrain", "teacher.yaml", "--run", "b", *SHORT).code == 0
    pictures = [np.full((8, 8), value, np.uint8) for value in (0, 100)]
    main, teacher = (load_encoder(name).encode(pictures) for name in "ab")
    assert main.shape == teacher.shape == (2, 32)
    assert np.abs(main - teacher).max() > 1e-3
    assert omnimask("export", "b", "out", "--to", "safetensors").code == 0
    assert np.array_equal(load_encoder("out").encode(pictures), teacher)


def test_a_judging_run_is_evaluated_exported_and_shown(omnimask: Command, run: Callable[[str], Path]) -> None:
    """Ids are those of the generator: it has a baseline although the recipe's own predictor answers with none."""
    folder = run(REPLACED)
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    validations = [line for line in metrics if "validation_loss" in line]
    assert {"validation_mlm_accuracy", "validation_replaced_accuracy"} <= validations[-1].keys()
    evaluated = omnimask("evaluate", "a")
    assert evaluated.code == 0, evaluated.err
    assert "unigram" in evaluated.out and max(map(len, evaluated.out.splitlines())) <= LONGEST
    shown = omnimask("reconstruct", "a", "--count", "1", "--output", "page.html")
    assert shown.code == 0 and max(map(len, shown.out.splitlines())) <= LONGEST
    assert "filled in by the network" in Path("page.html").read_text(encoding="utf-8")
    assert omnimask("export", "a", "out", "--to", "safetensors").code == 0
    texts = ["a first text", "another one"]
    assert np.array_equal(load_encoder("out").encode(texts), load_encoder("a").encode(texts))
