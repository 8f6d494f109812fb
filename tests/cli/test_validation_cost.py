"""Validations take a small share of a run, and what they cost is said before it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omnimask.builder.build import Built, build
from omnimask.recipe import load_recipe

Command = Callable[..., Any]
MANY = ("data={name: digits, validation: 0.2}",)


def _lines(run: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key.startswith(("step", "validation"))} for line in lines]


def test_inspect_says_what_validations_cost(omnimask: Command, recipe: Path) -> None:
    found = json.loads(omnimask("inspect", recipe, "--json", *MANY, "train.validate_every=4").out)["validation"]
    assert found["samples"] == 16 and found["tokens"] == 64 and found["held_out"] > 300
    assert found["batches"] == 2 and found["validations"] == 2
    assert found["share"] == pytest.approx((2 * 64 / 3) / (2 * 64 / 3 + 6 * 32))
    shown = " ".join(omnimask("inspect", recipe, *MANY, "train.validate_every=4").out.split())
    assert f"16 of {found['held_out']} held-out samples, 64 tokens, in 2 batches" in shown
    assert "2 validations, every 4 steps and after the last one" in shown and "18 % (a validated token costs a third" in shown
    assert "nothing (data.validation)" in omnimask("inspect", recipe, "data.validation=0").out
    assert json.loads(omnimask("inspect", recipe, "--json", "data.validation=0").out)["validation"] is None


def test_a_run_that_validates_too_often_is_warned_about(omnimask: Command, recipe: Path) -> None:
    told = omnimask("inspect", recipe, *MANY, "train.validate_every=1").err
    assert "warning: validations are about 40 % of the run's work (train.validate_every: 1, of 16 of " in told
    assert "validations are" not in omnimask("inspect", recipe, *MANY, "train.validate_every=1", "train.validate_share=50%").err


def test_the_samples_are_the_same_ones_from_everywhere(recipe: Path) -> None:
    def scored(*changes: str) -> tuple[Built, list[str]]:
        built = build(load_recipe(recipe, [*MANY, *changes]))
        return built, [key for batch in built.validation_batches(num_samples=built.scored.samples) for key in batch.keys]

    built, keys = scored()
    held = [built.dataset.key(index) for index in built.validation_indices.tolist()]
    assert len(keys) == 16 and keys == [held[number * len(held) // 16] for number in range(16)]
    assert scored("train.micro_batch_tokens=8", "train.steps=7")[1] == keys
    assert scored("train.validate_share=100%")[1] == held


def test_a_part_is_scored_and_said(omnimask: Command, recipe: Path) -> None:
    result = omnimask("pretrain", recipe, *MANY, "--run", "a")
    assert "validations score 16 of " in result.err and "to take at most 10% of the run (train.validate_share)" in result.err
    assert "validations score" not in omnimask("pretrain", recipe, "--run", "b").err


def test_an_interrupted_run_scores_what_the_other_scores(omnimask: Command, recipe: Path) -> None:
    assert omnimask("pretrain", recipe, *MANY, "--run", "whole").code == 0
    assert omnimask("pretrain", recipe, *MANY, "train.validate_every=2", "--run", "cut", "train.steps=4").code == 0
    assert omnimask("resume", "cut", "train.steps=6", "train.validate_every=3").code == 0
    assert _lines("whole")[-1] == _lines("cut")[-1]


def test_the_share_may_change_in_a_resumed_run(omnimask: Command, recipe: Path) -> None:
    assert omnimask("pretrain", recipe, *MANY, "train.steps=4", "--run", "a").code == 0
    result = omnimask("resume", "a", "train.steps=6", "train.validate_share=100%")
    assert result.code == 0
    assert "instead of 16 samples: their losses are not compared with earlier ones" in result.err
