"""Every sample of an epoch is visited once, for any number of shards, ranks and workers, also when they change in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnimask.data.loader import BadSample, LoadedBatch, Loader
from omnimask.data.order import Order, stream_order
from omnimask.data.planner import Cursor, Place, Planner


class Shards:
    """Groups of samples."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.group_starts = np.cumsum([0, *sizes[:-1]])
        self.num_samples = sum(sizes)


@st.composite
def planners(draw: st.DrawFn) -> Planner:
    shards = Shards(draw(st.lists(st.integers(1, 15), min_size=1, max_size=8)))
    kept = draw(st.sets(st.integers(0, shards.num_samples - 1), min_size=1))
    order: Order = stream_order(shards, np.array(sorted(kept)), draw(st.integers(0, 2**31)), draw(st.integers(1, 40)))
    counts = np.array(draw(st.lists(st.integers(1, 9), min_size=shards.num_samples, max_size=shards.num_samples)))
    return Planner(order, counts, draw(st.integers(9, 90)), draw(st.integers(1, 40)), steps=10**6)


def visits(planner: Planner, worlds: Iterator[int]) -> Iterator[Place]:
    """What the ranks of a run compute, step after step, with another number of ranks at every step."""
    step, cursor = 0, Cursor()
    while True:
        plan = planner.step(step, cursor)
        world = min(next(worlds), len(plan))
        for rank in range(world):
            yield from (place for part in plan.share(rank, world) for place in part)
        step, cursor = step + 1, plan.after


@given(planners(), st.lists(st.integers(1, 7), min_size=1, max_size=10), st.integers(1, 3))
def test_every_sample_once_per_epoch_whatever_the_ranks(planner: Planner, worlds: list[int], epochs: int) -> None:
    """Among them: saved on some ranks in the middle of an epoch, resumed on more or fewer."""
    size = planner.order.num_samples
    endless = (world for number in range(10**6) for world in [worlds[number % len(worlds)]])
    found = visits(planner, endless)
    for epoch in range(epochs):
        places = [next(found) for _ in range(size)]
        assert {place.epoch for place in places} == {epoch}
        assert sorted(place.index for place in places) == planner.order.indices.tolist()


class Reporting:
    """Instead of a batch, the samples' indices."""

    def __call__(self, places: Sequence[Place]) -> LoadedBatch:
        return LoadedBatch(None, tuple(BadSample(str(place.index), place.epoch, place.position, "") for place in places))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_loaders_of_all_ranks_together_visit_every_sample_once(workers: int, world: int) -> None:
    shards = Shards([7, 1, 12, 5, 9])
    counts = np.arange(shards.num_samples) % 5 + 1
    order = stream_order(shards, np.arange(shards.num_samples), seed=5, window=10)
    planner = Planner(order, counts, batch_tokens=17, micro_batch_tokens=6, steps=12)
    seen: Counter[str] = Counter()
    for rank in range(world):
        loader = Loader(Reporting(), planner, workers=workers, start=Cursor(), first_step=0, rank=rank, world=world)
        seen.update(bad.key for step in loader for bad in step.bad if bad.epoch == 0)
    assert seen == {str(index): 1 for index in range(shards.num_samples)}
