"""Ratios and maskers that change over the run, and one of several maskers for every sample."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from pydantic import Field, TypeAdapter

from omnimask.component import Component, named
from omnimask.components.maskers.block import BlockMasker
from omnimask.components.maskers.choose import ChooseMasker
from omnimask.components.maskers.none import NoMasker
from omnimask.components.maskers.random import RandomMasker
from omnimask.components.maskers.scheduled import ScheduledMasker
from omnimask.components.maskers.span import SpanMasker
from omnimask.components.maskers.units import UnitMasker
from omnimask.errors import UserError
from omnimask.interfaces import Context, Draw
from omnimask.interfaces.schedules import Ratio, RatioSchedule, ValueSchedule, value_at
from omnimask.recipe import Recipe, load_recipe
from omnimask.recipe.describe import readable

from .fakes import CONTEXT, chain, draw_of

RAMP = RatioSchedule(schedule="linear", start=0.2, end=0.6, until=0.5)


@pytest.mark.parametrize(
    ("schedule", "quarter", "half"),
    [("linear", 0.5, 1.0), ("cosine", 0.5 - 0.5 * math.cos(math.pi * 0.5), 1.0), ("constant", 0.0, 1.0)],
)
def test_values_go_from_one_to_the_other_and_stay(schedule: Any, quarter: float, half: float) -> None:
    """``until`` is half of the run, so at a quarter half of the way is done."""
    value = ValueSchedule(schedule=schedule, start=2.0, end=-3.0, until=0.5)
    shares = [value.at(progress) for progress in (0.0, 0.25, 0.5, 1.0)]
    assert shares == pytest.approx([2.0, 2.0 - 5 * quarter, 2.0 - 5 * half, -3.0])


def test_a_plain_number_is_itself() -> None:
    assert value_at(0.3, draw_of(0, 0.7)) == 0.3
    assert value_at(RAMP, draw_of(0, 0.25)) == pytest.approx(0.4)


@pytest.mark.parametrize(
    "masker",
    [
        RandomMasker(CONTEXT, ratio=RAMP),
        SpanMasker(CONTEXT, ratio=RAMP),
        SpanMasker(CONTEXT, ratio=RAMP, lengths="geometric", field="word"),
        UnitMasker(CONTEXT, ratio=RAMP),
        BlockMasker(CONTEXT, ratio=RAMP, size=3),
    ],
    ids=lambda masker: type(masker).__name__,
)
def test_maskers_follow_the_run(masker: Any) -> None:
    """The expected share at three places of the run; 200 samples of 100 tokens, words of at most 4."""
    for progress, share in ((0.0, 0.2), (0.25, 0.4), (1.0, 0.6)):
        found = [masker(chain(100, draw_of(n)), draw_of(n, progress)) for n in range(200)]
        assert np.mean([masking.is_target.mean() for masking in found]) == pytest.approx(share, abs=0.01)
        assert all(masking.level == pytest.approx(share) for masking in found)


ADAPTER = TypeAdapter[Any](Annotated[Ratio, Field(description="share")])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.5, "Input should be less than or equal to 1"),
        ({"schedule": "linear", "from": 0.1, "to": 1.5}, "Input should be less than or equal to 1"),
        ({"schedule": "step", "from": 0.1, "to": 0.5}, "Input should be 'linear', 'cosine' or 'constant'"),
        ({"schedule": "linear", "from": 0.1, "to": 0.5, "untill": 1}, "Extra inputs are not permitted"),
        ({"schedule": "linear", "to": 0.5}, "Field required"),
        ("a lot", "Input should be a valid number"),
    ],
)
def test_what_is_wrong_is_said_of_the_form_that_was_meant(value: Any, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        ADAPTER.validate_json(json.dumps(value), strict=True)
    assert [error["msg"] for error in raised.value.errors()] == [message]  # pyright: ignore[reportAttributeAccessIssue]


def test_listings_show_both_forms() -> None:
    assert readable(Annotated[Ratio, Field(description="share")]) == "float > 0, <= 1 | {schedule, from, to, until}"


RECIPE = """\
omnimask: 1
modalities:
  image:
    tokenizer: {name: image.patch, image_size: 8, patch_size: 2}
    masker: MASKER
    corruptor: {name: drop}
encoder: {name: transformer, width: 8, depth: 1, heads: 1}
predictors: [{name: decoder, width: 8, depth: 1, heads: 1, target: {name: patch}}]
data: {name: digits}
train: {steps: 2, batch_tokens: 64, optimizer: {name: adamw, lr: 1e-3}}
"""


def load(folder: Path, masker: str) -> Recipe:
    (folder / "recipe.yaml").write_text(RECIPE.replace("MASKER", masker), encoding="utf-8")
    return load_recipe(folder / "recipe.yaml")


def test_recipes_write_schedules_as_they_read_them(tmp_path: Path) -> None:
    masker = "{name: random, ratio: {schedule: cosine, from: 0.75, to: 0.5}}"
    recipe = load(tmp_path, masker)
    component = recipe.modalities["image"].masker
    assert component is not None
    assert component.options["ratio"] == RatioSchedule(schedule="cosine", start=0.75, end=0.5, until=1.0)
    (tmp_path / "again.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    assert "ratio: {schedule: cosine, from: 0.75, to: 0.5, until: 1.0}" in recipe.to_yaml()
    assert load_recipe(tmp_path / "again.yaml").modalities == recipe.modalities


def test_recipes_point_at_what_is_wrong_inside_a_schedule(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        load(tmp_path, "{name: random, ratio: {schedule: linear, from: 0.5, to: 2}}")
    assert raised.value.messages[0].endswith(
        "recipe.yaml:5: modalities.image.masker.ratio.to: must be less than or equal to 1 (got 2)"
    )


CURRICULUM = [named("masker", "random", ratio=0.15), named("masker", "units", ratio=0.15), named("masker", "span", ratio=0.3)]


def test_one_masker_after_another() -> None:
    masker = ScheduledMasker(CONTEXT, maskers=CURRICULUM, until=[0.25, 0.5])
    tokens = chain(64, draw_of(0))
    for progress, stage in ((0.0, 0), (0.2499, 0), (0.25, 1), (0.49, 1), (0.5, 2), (1.0, 2)):
        draw = draw_of(3, progress)
        found = masker(tokens, draw)
        alone = CURRICULUM[stage](CONTEXT)(tokens, draw.at(stage))
        assert np.array_equal(found.is_target, alone.is_target)
        assert (found.kind, found.level) == (stage, alone.level)


def test_shares_of_the_run_that_fit_no_curriculum() -> None:
    with pytest.raises(ValueError, match="3 maskers need 2 shares in until"):
        ScheduledMasker(CONTEXT, maskers=CURRICULUM, until=[0.5])
    with pytest.raises(ValueError, match="until must be increasing"):
        ScheduledMasker(CONTEXT, maskers=CURRICULUM, until=[0.5, 0.5])


def test_branches_are_drawn_by_weight() -> None:
    """3 to 1 over 4,000 samples: a standard error of 0.007."""
    masker = ChooseMasker(CONTEXT, maskers=[named("masker", "random", ratio=0.5), named("masker", "none")], weights=[3, 1])
    tokens = chain(40, draw_of(0))
    found = [masker(tokens, draw_of(n)) for n in range(4000)]
    assert np.mean([masking.kind == 0 for masking in found]) == pytest.approx(0.75, abs=0.03)
    assert all(masking.is_target.any() == (masking.kind == 0) for masking in found)


def test_a_branch_draws_as_it_would_alone() -> None:
    """So that changing a weight leaves what the other branches hide as it was."""
    half = named("masker", "random", ratio=0.5)
    tokens, draw = chain(40, draw_of(0)), Draw(0, 0, "s")
    one = ChooseMasker(CONTEXT, maskers=[half])(tokens, draw)
    assert np.array_equal(one.is_target, half(CONTEXT)(tokens, draw.at(0)).is_target)


def test_weights_that_fit_no_choice() -> None:
    with pytest.raises(ValueError, match="2 maskers need 2 weights, got 1"):
        ChooseMasker(Context(), maskers=[Component("masker", "none", cls=NoMasker)] * 2, weights=[1.0])
