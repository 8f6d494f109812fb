"""A step has one gradient however it is divided into micro-batches. What would break this is shown to break it.

Gradients of a step in micro-batches of whole groups are compared with that of one batch: 1e-6, the rounding of other orders of
summation. The controls use what is usual elsewhere, torch's generator for draws and all samples at hand as negatives, and differ by
more than 1e-2.
"""

from __future__ import annotations

import dataclasses
import sys
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from omnimask.builder.build import Built, build
from omnimask.components.predictors.contrast import GroupContrast
from omnimask.components.replacers.sampled import Sampled
from omnimask.data.planner import Cursor
from omnimask.interfaces import MaskedBatch, Prediction, Run, Sample, Stream
from omnimask.recipe import load_recipe

sys.path.insert(0, str(Path(__file__).parents[2]))
from toys.conftest import RECIPES, toy_registry

REGISTRY = toy_registry()
EQUAL, DIFFERENT = 1e-6, 1e-2


def made(name: str, *changes: str) -> tuple[Built, list[Sample]]:
    built = build(load_recipe(RECIPES / f"{name}.yaml", changes, registry=REGISTRY))
    samples, bad = built.pipeline.samples(built.planner().step(0, Cursor()).places)
    assert len(samples) > 12 and not bad
    return built, samples


def divided(samples: list[Sample], size: int) -> list[list[Sample]]:
    """Return parts of at least ``size`` samples, in which groups are whole."""
    parts: list[list[Sample]] = []
    for _, group in groupby(samples, lambda sample: sample.draw.group or sample.draw.key):
        if not parts or len(parts[-1]) >= size:
            parts.append([])
        parts[-1] += group
    return parts


def gradient(built: Built, parts: list[list[Sample]]) -> Tensor:
    """Return the gradient of one step, with the torch generator seeded as at the start of a step."""
    model = built.model.train()
    batches: list[MaskedBatch] = [built.pipeline.pack(part) for part in parts]
    divisors: dict[str, float] = {}
    for batch in batches:
        divisors = {term: divisors.get(term, 0.0) + count for term, count in model.counts(batch).items()}
    model.zero_grad(set_to_none=True)
    torch.manual_seed(0)
    for batch in batches:
        model(batch, divisors).loss.backward()
    return torch.cat([part.grad.flatten() for part in model.parameters() if part.grad is not None])


def largest_distance(built: Built, samples: list[Sample]) -> float:
    """Relative, over several divisions of a step. The last micro-batch comes first, as on another rank."""
    expected = gradient(built, [samples])
    found = [gradient(built, divided(samples, size)[::-1]) for size in (len(samples) // 2, 5, 1)]
    return max(float((one - expected).norm() / expected.norm()) for one in found)


def test_draws_belong_to_slots() -> None:
    built, samples = made("words_judged")
    assert largest_distance(built, samples) < EQUAL


def test_draws_of_the_generator_of_torch_belong_to_micro_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator that is seeded once for a step depends on the order in which slots come."""
    plain = Sampled.ids_of

    def unkeyed(
        self: Sampled, prediction: Prediction, row: Tensor, stream: Stream, slots: Tensor, shown: Tensor, run: Run
    ) -> Tensor:
        noise = torch.rand(stream.layout.num_slots, dtype=torch.float64)
        return plain(self, prediction, row, dataclasses.replace(stream, noise=noise), slots, shown, run)

    monkeypatch.setattr(Sampled, "ids_of", unkeyed)
    built, samples = made("words_judged")
    assert largest_distance(built, samples) > DIFFERENT


def test_draws_change_with_the_step() -> None:
    """Keys contain the draw of the sample, so the same sentence is replaced anew in another epoch."""
    built, samples = made("words_judged")
    again = [dataclasses.replace(sample, draw=dataclasses.replace(sample.draw, epoch=sample.draw.epoch + 1)) for sample in samples]
    noise = [built.pipeline.pack(part).views["judged"].context.noise for part in (samples, samples, again)]
    assert all(one is not None for one in noise)
    assert np.array_equal(noise[0], noise[1]) and not np.array_equal(noise[0], noise[2])


@pytest.mark.parametrize("options", ["", ", own_negatives: true"])
def test_negatives_belong_to_groups(options: str) -> None:
    built, samples = made("words_mirrored", _contrast(options))
    assert largest_distance(built, samples) < EQUAL


@pytest.mark.parametrize("options", ["", ", own_negatives: true"])
def test_negatives_at_hand_belong_to_micro_batches(options: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = GroupContrast.answers

    def at_hand(self: GroupContrast, prediction: Prediction, run: Run) -> object:
        batch = dataclasses.replace(run.batch, group=np.zeros_like(run.batch.group))
        return plain(self, prediction, dataclasses.replace(run, batch=batch))

    monkeypatch.setattr(GroupContrast, "answers", at_hand)
    built, samples = made("words_mirrored", _contrast(options))
    assert largest_distance(built, samples) > DIFFERENT


def _contrast(options: str) -> str:
    return f"predictors.1={{name: contrast, other: again, width: 0, pool: mean, temperature: 0.2{options}}}"
