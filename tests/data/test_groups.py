"""Groups of samples: never split, each sample once per epoch, and what their transform makes of them."""

from __future__ import annotations

import dataclasses
import pickle
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnimask.builder.build import Built, build
from omnimask.component import Component
from omnimask.data.loader import LoadedStep, Loader
from omnimask.data.order import StreamOrder, WindowOrder
from omnimask.data.pipeline import Grouping, Pipeline
from omnimask.data.planner import Cursor, Place, Planner, StepPlan
from omnimask.interfaces import Draw
from omnimask.recipe.config import GroupConfig
from omnimask.testing import synthetic_recipe
from omnimask.testing.requirements import same
from omnimask.testing.synthetic import Waves

fixed = settings(derandomize=True, deadline=None, max_examples=80)
Group = tuple[int, int]


@st.composite
def planners(draw: st.DrawFn) -> Planner:
    num_samples = draw(st.integers(1, 50))
    counts = draw(st.one_of(st.integers(1, 20), st.lists(st.integers(0, 30), min_size=num_samples, max_size=num_samples)))
    seed = draw(st.integers(0, 2**31))
    order = StreamOrder(num_samples, seed)
    if draw(st.booleans()):
        order = WindowOrder(np.arange(num_samples), [0], seed, draw(st.integers(1, 20)))
    return Planner(
        order,
        counts if isinstance(counts, int) else np.array(counts),
        batch_tokens=draw(st.integers(1, 200)),
        micro_batch_tokens=draw(st.integers(1, 120)),
        steps=20,
        group=draw(st.integers(2, 9)),
    )


def plans(planner: Planner, first: int = 0, cursor: Cursor | None = None) -> list[StepPlan]:
    found: list[StepPlan] = []
    cursor = cursor or Cursor()
    for step in range(first, planner.steps):
        found.append(planner.step(step, cursor))
        cursor = found[-1].after
    return found


def groups_of(places: Sequence[Place], size: int) -> list[Group]:
    return [(place.epoch, place.position // size) for place in places]


def members(group: Group, planner: Planner) -> int:
    """How many samples a group has: the last one of an epoch may have fewer."""
    return min(planner.group, planner.order.num_samples - group[1] * planner.group)


def are_whole(parts: Sequence[Sequence[Place]], planner: Planner) -> bool:
    """Whether no group lies in two parts, and none lacks a sample."""
    seen: Counter[Group] = Counter()
    for part in parts:
        inside = Counter(groups_of(part, planner.group))
        if any(group in seen or count != members(group, planner) for group, count in inside.items()):
            return False
        seen += inside
    return True


def tokens(planner: Planner, places: Sequence[Place]) -> int:
    counts = planner.counts
    return sum(max(1, int(counts if isinstance(counts, int | np.integer) else counts[place.index])) for place in places)


@fixed
@given(planners())
def test_steps_hold_whole_groups_and_every_sample_comes_once_per_epoch(planner: Planner) -> None:
    found = plans(planner)
    assert are_whole([plan.places for plan in found], planner)
    places = [place for plan in found for place in plan.places]
    size = planner.order.num_samples
    assert [(place.epoch, place.position) for place in places] == [divmod(n, size) for n in range(len(places))]
    for start in range(0, len(places) - size + 1, size):
        assert sorted(place.index for place in places[start : start + size]) == list(range(size))


@fixed
@given(planners(), st.integers(1, 6))
def test_ranks_and_micro_batches_hold_whole_groups(planner: Planner, world: int) -> None:
    for plan in plans(planner)[:6]:
        num_groups = len(set(groups_of(plan.places, planner.group)))
        if num_groups < world:
            with pytest.raises(ValueError, match=rf"has {num_groups} groups of samples for {world} devices"):
                plan.share(0, world)
            continue
        shares = [plan.share(rank, world) for rank in range(world)]
        parts = [part for share in shares for part in share]
        assert [place for part in parts for place in part] == list(plan.places)
        assert are_whole(parts, planner)
        most = max(map(len, shares))
        assert all(len(share) == min(most, len(set(groups_of(sum(share, ()), planner.group)))) for share in shares)


@fixed
@given(planners())
def test_budgets_are_exceeded_by_single_groups_only(planner: Planner) -> None:
    found = plans(planner)
    for plan, following in pairwise(found):
        groups = set(groups_of(plan.places, planner.group))
        assert tokens(planner, plan.places) <= planner.batch_tokens or len(groups) == 1
        first = groups_of(following.places, planner.group)[0]
        ahead = [place for place in following.places if groups_of([place], planner.group)[0] == first]
        assert tokens(planner, [*plan.places, *ahead]) > planner.batch_tokens
        for part in plan.micro_batches:
            assert tokens(planner, part) <= planner.micro_batch_tokens or len(set(groups_of(part, planner.group))) == 1


@fixed
@given(planners(), st.integers(0, 19))
def test_planning_goes_on_from_any_cursor(planner: Planner, first: int) -> None:
    whole = plans(planner)
    cursor = whole[first - 1].after if first else Cursor()
    fresh = pickle.loads(pickle.dumps(planner))  # noqa: S301
    assert plans(fresh, first, cursor) == whole[first:]


@fixed
@given(planners(), st.integers(1, 6))
def test_a_world_that_passes_the_check_has_groups_at_every_step(planner: Planner, world: int) -> None:
    try:
        planner.check_world(world)
    except ValueError as error:
        assert f"the largest group of {planner.group} samples may have" in str(error)
        return
    for plan in plans(planner):
        assert all(plan.share(rank, world) for rank in range(world))


def test_the_last_group_of_an_epoch_may_be_smaller() -> None:
    planner = Planner(StreamOrder(7, seed=0), 1, batch_tokens=3, micro_batch_tokens=3, steps=6, group=3)
    found = [[(place.epoch, place.position) for place in plan.places] for plan in plans(planner)]
    assert found[:4] == [[(0, 0), (0, 1), (0, 2)], [(0, 3), (0, 4), (0, 5)], [(0, 6)], [(1, 0), (1, 1), (1, 2)]]


# ---- what the pipeline makes of groups


class Broken(Waves):
    """Samples 5 and 6 cannot be read."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index in (5, 6):
            raise OSError("the disk is gone")
        return super().__getitem__(index)


class Doubling:
    """Every row, and every row turned round; refuses groups with a sample that is called so."""

    growth = 2.0

    def __init__(self, refused: str = "") -> None:
        self.refused = refused

    def __call__(self, rows: Sequence[Mapping[str, Any]], draws: Sequence[Draw]) -> Sequence[Mapping[str, Any]]:
        assert len(rows) == len(draws)
        if self.refused in [draw.key for draw in draws]:
            raise ValueError(f"no groups with {self.refused}")
        shift = int(draws[0].uniform(1, "shift")[0] * 3)
        return [*rows, *({**row, "letters": np.roll(row["letters"][::-1], shift), "begins": 1} for row in rows)]


def grouped(size: int, transform: Any = None, dataset: type[Waves] = Waves, steps: int = 12) -> tuple[Built, Pipeline, Planner]:
    recipe = synthetic_recipe(group=size)
    recipe = dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, dataset=Component("dataset", "waves", cls=dataset), group=GroupConfig(size)),
        train=recipe.train.model_copy(update={"steps": steps}),
    )
    built = build(recipe)
    pipeline = dataclasses.replace(built.pipeline, grouping=Grouping(size, transform))
    return built, pipeline, dataclasses.replace(built, pipeline=pipeline).planner()


def places(built: Built, count: int, epoch: int = 0) -> list[Place]:
    return [Place(epoch, position, index, 0.0) for position, index in enumerate(built.train_indices[:count].tolist())]


def test_groups_are_numbered_and_draws_know_their_group() -> None:
    built, pipeline, _ = grouped(3)
    samples, bad = pipeline.samples(places(built, 8))
    keys = [built.dataset.key(index) for index in built.train_indices[:8].tolist()]
    assert not bad
    assert [sample.draw.group for sample in samples] == [*[tuple(keys[:3])] * 3, *[tuple(keys[3:6])] * 3, *[tuple(keys[6:])] * 2]
    assert pipeline.pack(samples).group.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    alone = built.pipeline.pack(dataclasses.replace(pipeline, grouping=Grouping()).samples(places(built, 3))[0])
    assert alone.group.tolist() == [0, 1, 2]


def test_one_group_seen_in_two_epochs_is_two_groups() -> None:
    built, pipeline, _ = grouped(2)
    batch = pipeline([*places(built, 2), *places(built, 2, epoch=1)]).batch
    assert batch is not None
    assert batch.group.tolist() == [0, 0, 1, 1]


def test_a_sample_that_cannot_be_read_leaves_the_rest_of_its_group() -> None:
    _, pipeline, _ = grouped(3, Doubling(), Broken)
    indices = [4, 5, 7, 8, 9, 10]
    loaded = pipeline([Place(0, position, index, 0.0) for position, index in enumerate(indices)])
    assert loaded.batch is not None
    assert [(bad.key, bad.position, bad.reason) for bad in loaded.bad] == [("waves/05", 1, "OSError: the disk is gone")]
    assert loaded.batch.keys == tuple(f"waves/{n:02d}" for n in (4, 7, 4, 7, 8, 9, 10, 8, 9, 10))
    assert loaded.batch.group.tolist() == [0] * 4 + [1] * 6


def test_a_group_that_cannot_be_read_at_all_is_left_out() -> None:
    _, pipeline, _ = grouped(2, Doubling(), Broken)
    loaded = pipeline([Place(0, 0, 5, 0.0), Place(0, 1, 6, 0.0)])
    assert loaded.batch is None
    assert [bad.key for bad in loaded.bad] == ["waves/05", "waves/06"]


def test_a_transform_may_refuse_a_group() -> None:
    _, pipeline, _ = grouped(2, Doubling(refused="waves/03"))
    loaded = pipeline([Place(0, position, position, 0.0) for position in range(6)])
    assert [(bad.key, bad.position, bad.reason) for bad in loaded.bad] == [
        ("waves/02", 2, "ValueError: no groups with waves/03"),
        ("waves/03", 3, "ValueError: no groups with waves/03"),
    ]
    assert loaded.batch is not None
    assert loaded.batch.keys == tuple(f"waves/{n:02d}" for n in (0, 1, 0, 1, 4, 5, 4, 5))


def test_rows_have_draws_of_their_own_and_sets_labels() -> None:
    built, pipeline, _ = grouped(2, Doubling())
    samples, _ = pipeline.samples(places(built, 2))
    assert len({sample.draw.stage for sample in samples}) == 4
    batch = pipeline.pack(samples)
    assert batch.labels["begins"][2:].tolist() == [1, 1]
    assert sorted(samples[0].tokens["letters"].content) == sorted(samples[2].tokens["letters"].content)


def test_growth_is_planned_with() -> None:
    built, _, planner = grouped(2, Doubling())
    plain = built.planner()
    assert (np.asarray(planner.counts) == 2 * np.asarray(plain.counts)).all()
    halves = plain.step(0, Cursor()), planner.step(0, Cursor())
    assert len(halves[1]) < len(halves[0])


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(workers: int) -> None:
    _, pipeline, planner = grouped(3, Doubling(), Broken, steps=6)

    def steps(count: int) -> list[LoadedStep]:
        return list(Loader(pipeline, planner, workers=count, start=Cursor(), first_step=0))

    assert same(steps(0), steps(workers))


def test_a_run_goes_on_from_any_step() -> None:
    _, pipeline, planner = grouped(3, Doubling(), steps=8)
    whole = list(Loader(pipeline, planner, workers=0, start=Cursor(), first_step=0))
    for step in (1, 4, 7):
        rest = list(Loader(pipeline, planner, workers=0, start=whole[step - 1].after, first_step=step))
        assert same(whole[step:], rest)


def test_held_out_groups_are_never_split_over_batches() -> None:
    recipe = synthetic_recipe(group=3)
    options = recipe.data.options.model_copy(update={"validation": 0.5})
    recipe = dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, options=options),
        train=recipe.train.model_copy(update={"micro_batch_tokens": 40}),
    )
    built = build(recipe)
    seen = [key for batch in built.validation_batches() for key in batch.keys]
    assert seen == [built.dataset.key(index) for index in built.validation_indices.tolist()]
    batches = list(built.validation_batches())
    assert len(batches) > 2
    assert all(batch.num_samples % 3 == 0 for batch in batches[:-1])
