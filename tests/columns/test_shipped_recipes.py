"""Whole micro-batches of every shipped recipe equal their samples, masked and corrupted one by one, bit for bit."""

from __future__ import annotations

import pytest
from tests.columns.compared import differences

from omnimask.builder.build import Built, build
from omnimask.data.planner import Place
from omnimask.interfaces import MaskedBatch, Sample
from omnimask.recipe import load_recipe, shipped_recipes

PROGRESS = (0.0, 0.3, 0.6, 0.9)
"""Shares of the run, of neighboring samples: curricula are in all their stages at once."""


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
