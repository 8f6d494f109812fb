"""The comparison of two trainings; ``scripts/same_weights.py`` makes it for every shipped recipe, beside another checkout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from .loaded import loaded

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with loaded("scripts", "same_weights") as module:
        yield module


def trained(script: ModuleType, weight: float = 1.0, **metrics: Any) -> Any:
    line = {"step": 1, "loss": 0.5, "seconds": 1.0, "tokens_per_second": 3.0, **metrics}
    return script.Trained([line], save({"a": np.array([weight, 2.0], np.float32), "b": np.zeros(3, np.float32)}), "")


def test_equal_runs_may_differ_in_times_and_in_new_metrics(script: ModuleType) -> None:
    here, there = trained(script, mask_ratio=0.1, grad_norm=float("nan")), trained(script, seconds=9.0, grad_norm=float("nan"))
    assert script.compared(here, there) == (True, "equal; only here: mask_ratio")
    assert here.digest == there.digest and len(here.digest) == 12


def test_the_first_step_and_the_tensors_that_differ_are_named(script: ModuleType) -> None:
    is_equal, text = script.compared(trained(script), trained(script, weight=1.5, loss=0.25))
    assert not is_equal
    assert text == "step 1: loss differ, loss 0.5 and 0.25; 1 of 2 tensors differ, by up to 0.5"
    is_equal, text = script.compared(trained(script), script.Trained([], b"", "error: no such recipe"))
    assert not is_equal and text == "here: trained; there: error: no such recipe"


@pytest.mark.process
def test_a_recipe_is_trained_with_the_sources_of_a_checkout(script: ModuleType, tmp_path: Path) -> None:
    found = script.train("image/digits", ROOT, tmp_path / "cache", 2)
    assert not found.message and found.weights and [line["step"] for line in found.metrics if "loss" in line] == [1, 2]
    assert script.train("image/digits", tmp_path, tmp_path / "cache", 0).message
