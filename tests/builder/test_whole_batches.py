"""Whole micro-batches of every shipped recipe equal their samples, masked and corrupted one by one, bit for bit."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from omnimask.builder.build import Built, build
from omnimask.data.planner import Place
from omnimask.interfaces import MaskedBatch, Sample
from omnimask.recipe import load_recipe, shipped_recipes

PROGRESS = (0.0, 0.3, 0.6, 0.9)
"""Shares of the run, of neighboring samples: curricula are in all their stages at once."""


def differences(left: Any, right: Any, path: str = "batch") -> list[str]:
    """Names of the fields that differ in type, shape, dtype or a bit, NaN being equal to NaN."""
    if type(left) is not type(right):
        return [f"{path}: {type(left).__name__} and {type(right).__name__}"]
    if dataclasses.is_dataclass(left):
        names = [field.name for field in dataclasses.fields(left)]
        return [line for name in names for line in differences(getattr(left, name), getattr(right, name), f"{path}.{name}")]
    if isinstance(left, dict):
        if list(left) != list(right):
            return [f"{path}: {list(left)} and {list(right)}"]
        return [line for key in left for line in differences(left[key], right[key], f"{path}[{key}]")]
    if isinstance(left, torch.Tensor):
        left, right = left.numpy(), right.numpy()
    if isinstance(left, np.ndarray):
        is_same = left.dtype == right.dtype and left.shape == right.shape and np.array_equal(left, right, equal_nan=left.dtype.kind == "f")
        return [] if is_same else [f"{path}: {left.dtype} {left.shape} and {right.dtype} {right.shape}"]
    return [] if left == right else [f"{path}: {left!r} and {right!r}"]


def samples_of(built: Built, count: int) -> list[Sample]:
    places = [Place(0, i, i % len(built.pipeline.dataset), PROGRESS[i % len(PROGRESS)]) for i in range(count)]
    return built.pipeline.samples(places)[0]


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_whole_batch_equals_its_samples(name: str) -> None:
    pipeline = (built := build(load_recipe(name, smoke=True))).pipeline
    samples = samples_of(built, 12)
    assert len(samples) > 4
    for some in (samples, samples[:1]):
        whole, each = pipeline.pack(some), pipeline.pack_each(some)
        assert isinstance(whole, MaskedBatch)
        assert not differences(whole, each)
