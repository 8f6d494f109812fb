"""Micro-batches are planned by the memory that a token costs the recipe's networks."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from omnimask.builder import micro_batches
from omnimask.builder.build import Built, build
from omnimask.builder.micro_batches import AUTO_MICRO_BATCH, TokenCost, measure_token_cost, rounded_up
from omnimask.component import Component, named
from omnimask.data.planner import Cursor
from omnimask.errors import RunStopped, UserError
from omnimask.interfaces import MaskedBatch
from omnimask.interfaces.schedules import RatioSchedule
from omnimask.recipe import Recipe
from omnimask.report.inspection import activation_bytes
from omnimask.testing.synthetic import AGAIN, Waves, synthetic_recipe


@pytest.fixture(autouse=True)
def small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(micro_batches, "AUTO_MICRO_BATCH", {"cpu": 100, "cuda": 200})


def two_views(depth: int = 2, group: int = 1, **train: Any) -> Recipe:
    options = {"depth": depth, "heads": 2, "position": named("position", "sincos")}
    recipe = synthetic_recipe(predictor=named("predictor", "bottleneck", **options), query=AGAIN, group=group)
    return dataclasses.replace(recipe, train=recipe.train.model_copy(update=train))


def with_data(recipe: Recipe, cls: type) -> Recipe:
    data: Component[Any] = Component("dataset", "changed", cls=cls)
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, dataset=data))


def step_of(built: Built) -> list[MaskedBatch]:
    """The micro-batches of the first step."""
    found = [built.pipeline(places).batch for places in built.planner().step(0, Cursor()).micro_batches]
    assert all(batch is not None for batch in found)
    return [batch for batch in found if batch is not None]


@pytest.mark.parametrize(
    ("number", "rounded"),
    [(1, 1), (1.0000001, 1), (1.001, 1.1), (1.1, 1.1), (1.13, 1.2), (2, 2), (2.0001, 2.1), (9.95, 10), (10.2, 11), (123, 130)],
)
def test_costs_are_rounded_up_to_two_digits(number: float, rounded: float) -> None:
    assert rounded_up(number) == rounded


def test_a_view_alone_keeps_the_budget_and_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    built = build(synthetic_recipe())
    monkeypatch.setattr(Waves, "__getitem__", lambda *_: pytest.fail("a sample was read"))
    assert built.token_cost == TokenCost(1.0, ("main",))
    assert [built.micro_batch_tokens(device) for device in ("cpu", "cuda", "mps")] == [100, 200, 100]


def test_shipped_budgets() -> None:
    assert AUTO_MICRO_BATCH == {"cpu": 16_384, "cuda": 65_536, "mps": 16_384}


def test_two_views_divide_the_budget() -> None:
    built = build(two_views())
    assert built.token_cost.views == ("main", AGAIN)
    assert built.token_cost.slots == 2.1  # twice two blocks, and an output layer
    assert [built.micro_batch_tokens(device) for device in ("cpu", "cuda")] == [47, 95]
    assert built.planner("cuda").micro_batch_tokens == 95
    assert build(two_views(batch_tokens=40)).micro_batch_tokens("cpu") == 40
    assert TokenCost(3.0, ()).divided(2) == 1


def test_what_the_user_writes_stays() -> None:
    built = build(two_views(micro_batch_tokens=77))
    assert built.micro_batch_tokens("cpu") == built.inference_tokens("cpu") == 77


def test_validation_keeps_its_batches() -> None:
    built = build(two_views())
    assert built.inference_tokens("cpu") == 100
    keys = [batch.keys for batch in built.validation_batches()]
    places = built.validation_places(100)
    assert keys == [tuple(built.dataset.key(place.index) for place in part) for part in places]


def test_the_cost_is_the_same_every_time_and_for_every_seed_of_these_views() -> None:
    first = build(two_views()).token_cost
    assert first == build(two_views()).token_cost == build(dataclasses.replace(two_views(), seed=7)).token_cost


@pytest.mark.parametrize("group", [1, 2, 3])
def test_samples_are_spread_over_the_training_set(group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    plain = Waves.__getitem__
    built = build(two_views(group=group))
    built.planner()  # counts the tokens
    monkeypatch.setattr(Waves, "__getitem__", lambda self, index: read.append(index) or plain(self, index))
    found = measure_token_cost(built.model, built.pipeline, built.train_indices, 1)
    assert found == built.token_cost
    positions = np.flatnonzero(np.isin(built.train_indices, read))
    assert 8 <= len(set(read)) <= 16 * group
    assert positions.min() < 8 * group and positions.max() >= len(built.train_indices) - 16 * group


def dropped(ratio: Any) -> Recipe:
    """The main view drops tokens; a decoder reads its query, and the bottleneck the other view."""
    recipe = two_views(steps=1000)
    part = dataclasses.replace(
        recipe.modalities["letters"], masker=named("masker", "random", ratio=ratio), corruptor=named("corruptor", "drop")
    )
    decoder = named("predictor", "decoder", width=16, depth=1, heads=2, target=named("target", "ids"))
    predictors = (*recipe.predictors, dataclasses.replace(recipe.predictors[0], component=decoder, label="decoder", query=None))
    return dataclasses.replace(recipe, modalities={"letters": part}, predictors=predictors)


def test_the_largest_cost_of_the_run_counts() -> None:
    fewer = RatioSchedule.model_validate({"schedule": "linear", "from": 0.9, "to": 0.1, "until": 1.0})
    often, seldom, changing = (build(dropped(ratio)).token_cost.slots for ratio in (0.1, 0.9, fewer))
    assert changing == often > seldom + 0.3


class Holes(Waves):
    """Most samples cannot be read."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index % 8 not in self.good:
            raise OSError("gone")
        return super().__getitem__(index)

    good = (5,)


class Nothing(Holes):
    good = ()


def test_unreadable_samples_are_left_out() -> None:
    assert build(with_data(two_views(), Holes)).token_cost == build(two_views()).token_cost
    with pytest.raises(UserError, match=r"none of \d+ evenly spaced training samples is readable.*set a number"):
        _ = build(with_data(two_views(), Nothing)).token_cost


@pytest.mark.parametrize(
    ("error", "message"),
    [(RunStopped("sample 'a' cannot be masked"), "^sample 'a' cannot"), (ValueError("no query"), "do not fit together: no query")],
)
def test_views_that_do_not_fit_are_refused(error: Exception, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> float:
        raise error

    monkeypatch.setattr(micro_batches, "slots_per_token", fail)
    with pytest.raises(UserError, match=message):
        _ = build(two_views()).token_cost


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_step_of_two_views_keeps_no_more_memory_than_one_of_a_single_view(depth: int) -> None:
    def most(recipe: Recipe) -> int:
        built = build(recipe)
        return max(activation_bytes(built.model, batch) for batch in step_of(built))

    alone = most(synthetic_recipe(predictor=named("predictor", "mlm")))
    both = most(two_views(depth))
    assert both <= 1.1 * alone  # a micro-batch is filled up to a sample, of at most 20 of its 100 tokens
    undivided = most(two_views(depth, micro_batch_tokens=100))
    assert undivided > 1.25 * alone
