"""Commands on modalities that the core has never seen: without pictures, several in one recipe."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
RECIPES = Path(__file__).parents[1] / "toys" / "recipes"


pytestmark = pytest.mark.usefixtures("toys")

SHORT = ("train.steps=4", "train.schedule={name: constant}", "train.validate_every=2", "train.checkpoint_every=2")


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_train_resume_and_inspect(omnimask: Command, tmp_path: Path, files_of: Any, name: str) -> None:
    recipe = RECIPES / f"{name}.yaml"
    result = omnimask("pretrain", recipe, "--run", "a", *SHORT)
    assert result.code == 0, result.err
    assert list((tmp_path / "a" / "figures").iterdir()) == []
    assert omnimask("resume", "a", "train.steps=6").code == 0
    found = json.loads(omnimask("inspect", recipe, "--json").out)
    assert found["not_exact"] == []
    low, mean, high = found["tokens_per_sample"]
    assert low <= mean <= high
    assert found["flops"] > 0


def test_a_modality_that_cannot_be_drawn(omnimask: Command, tmp_path: Path) -> None:
    recipe = RECIPES / "pairs_drop.yaml"
    drawn = omnimask("inspect", recipe, "--figure", "masks.png")
    assert (drawn.code, drawn.errors) == (2, ["no renderer for the modalities signal, words"])
    recipe = RECIPES / "signal_drop.yaml"
    assert omnimask("pretrain", recipe, "--run", "a", *SHORT).code == 0
    assert omnimask("reconstruct", "a").errors == ["no renderer for the modalities signal"]


def test_a_run_ends_with_how_often_it_is_right(omnimask: Command, files_of: Any) -> None:
    result = omnimask("pretrain", RECIPES / "words_sentinels.yaml", "--run", "a", *SHORT)
    summary = files_of(Path("a")).summary
    found, unigram = summary["best_validation_scores"]["autoregressive"], summary["baseline_scores"]["autoregressive"]
    assert found["cross_entropy"] == pytest.approx(summary["best_validation_loss"], rel=1e-5)
    assert 0 < unigram["accuracy"] < unigram["top5"] < 1
    loss, perplexity, others = found["cross_entropy"], math.exp(found["cross_entropy"]), math.exp(unigram["cross_entropy"])
    assert result.err.splitlines()[-1] == (
        f"held-out: loss {loss:.2f}, perplexity {perplexity:.1f} (unigram: {others:.1f}), "
        f"accuracy {100 * found['accuracy']:.1f} % (unigram: {100 * unigram['accuracy']:.1f} %)"
    )
    assert omnimask("resume", "a", "train.steps=6").err.splitlines()[-1].startswith("held-out: loss ")


def test_each_of_several_terms_has_a_line(omnimask: Command) -> None:
    err = omnimask("pretrain", RECIPES / "words_in_place.yaml", "--run", "a", *SHORT).err.splitlines()
    assert [line.partition(":")[0] for line in err[-2:]] == ["held-out, in_place", "held-out, early"]


def test_every_modality_is_scored_beside_a_guess_of_its_own(omnimask: Command, tmp_path: Path) -> None:
    assert omnimask("pretrain", RECIPES / "pairs_drop.yaml", "--run", "a", *SHORT).code == 0
    result = omnimask("evaluate", "a", "--probe", "none")
    assert result.code == 0, result.err
    assert "unigram" in result.out and "signal, signal" in result.out and "of the mean" in result.out
    assert max(map(len, result.out.splitlines())) <= 80
    found = json.loads((tmp_path / "a" / "evaluation.json").read_text())
    (numbers,), (ids,) = found["continuous"], found["answers"]
    assert (numbers["modality"], ids["term"]) == ("signal", "words")
    assert numbers["model"]["loss"]["mean"] > 0 and numbers["mean"]["loss"]["mean"] == pytest.approx(1.0, abs=0.15)
    assert numbers["explained"] == pytest.approx(1 - numbers["model"]["loss"]["mean"] / numbers["mean"]["loss"]["mean"])
    only = json.loads(omnimask("evaluate", "a", "--probe", "none", "--modality", "signal", "--json", "-o", "b").out)
    assert "answers" not in only and only["continuous"] == found["continuous"] and only["modality"] == "signal"
    other = json.loads(omnimask("evaluate", "a", "--probe", "none", "--modality", "words", "--json", "-o", "b").out)
    assert "continuous" not in other and other["answers"] == found["answers"]
    wrong = omnimask("evaluate", "a", "--modality", "sound")
    assert (wrong.code, wrong.errors) == (2, ["--modality: the run has no modality 'sound'; its modalities: signal, words"])
