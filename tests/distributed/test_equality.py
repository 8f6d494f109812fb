"""Two processes train what one does: the same losses, norms and counts, step by step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import largest_difference, lines

pytestmark = pytest.mark.process

TOLERANCE = 1e-5
"""Relative. Measured: 4e-7 (image) and 3e-7 (text), from the order of summation."""

Trained = Callable[..., Path]


@pytest.mark.parametrize("recipe", ["image", "text"])
def test_two_replicas_train_what_one_process_does(trained: Trained, recipe: str) -> None:
    alone, two = trained(recipe), trained(recipe, "--devices", "2")
    assert largest_difference(alone, two) < TOLERANCE
    losses = [line["loss"] for line in lines(two) if "loss" in line]
    assert losses[-1] < 0.95 * losses[0]
    assert {line["attempt"] for line in lines(two)} == {1}
    summary, other = (json.loads((run / "summary.json").read_text()) for run in (alone, two))
    assert {name: summary[name] for name in ("status", "step", "tokens", "samples")} == {
        name: other[name] for name in ("status", "step", "tokens", "samples")
    }
    assert sorted(path.name for path in (two / "logs").iterdir()) == ["rank0.log", "rank1.log"]
