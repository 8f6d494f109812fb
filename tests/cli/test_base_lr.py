"""The rate by the rule of the batch, where users meet it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


@pytest.fixture
def ruled(recipe: Path) -> Path:
    """The tiny recipe with a rate of 1e-3 at 64 tokens."""
    text = recipe.read_text()
    assert "optimizer: {name: adamw, lr: 1e-3}" in text
    recipe.write_text(
        text.replace("optimizer: {name: adamw, lr: 1e-3}", "optimizer: {name: adamw}\n  base_lr: {lr: 1e-3, tokens: 64}")
    )
    return recipe


def rates(run: str) -> dict[int, float]:
    lines = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["lr"] for line in lines if "lr" in line}


def test_the_rate_is_shown_before_it_is_used(omnimask: Command, ruled: Path) -> None:
    assert "0.0005 = 0.001 x 32 / 64 tokens (train.base_lr)" in " ".join(omnimask("inspect", ruled).out.split())
    assert json.loads(omnimask("inspect", ruled, "--json").out)["peak_lr"] == 5e-4
    result = omnimask("pretrain", ruled, "--run", "a")
    assert "peak learning rate 0.0005 = 0.001 x 32 / 64 tokens (train.base_lr)" in result.err
    assert set(rates("a").values()) == {5e-4}


def test_pieces_of_a_step_leave_the_rate_alone(omnimask: Command, ruled: Path) -> None:
    assert omnimask("pretrain", ruled, "train.micro_batch_tokens=8", "--run", "a").code == 0
    assert set(rates("a").values()) == {5e-4}


def test_a_resumed_run_compares_the_rule_and_follows_it_where_that_is_accepted(omnimask: Command, ruled: Path) -> None:
    assert omnimask("pretrain", ruled, "train.steps=4", "--run", "a").code == 0
    assert omnimask("resume", "a", "train.steps=5").code == 0
    refused = omnimask("resume", "a", "train.steps=6", "train.base_lr.lr=1e-2")
    assert refused.code == 2
    assert "train.base_lr.lr: 0.001 cannot change to 0.01 in a resumed run" in refused.errors[0]
    accepted = omnimask("resume", "a", "train.steps=6", "train.batch_tokens=64", "--accept-changes", "train.batch_tokens")
    assert accepted.code == 0
    assert rates("a") == {**dict.fromkeys(range(1, 6), 5e-4), 6: 1e-3}


def test_a_run_with_a_rate_of_its_own_is_compared_as_before(omnimask: Command, recipe: Path) -> None:
    assert omnimask("pretrain", recipe, "train.steps=4", "--run", "a").code == 0
    assert "base_lr" not in Path("a/recipe.yaml").read_text()
    assert omnimask("resume", "a", "train.steps=5").code == 0
