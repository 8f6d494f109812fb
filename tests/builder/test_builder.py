"""From a recipe to a model and its data: what fits is built the same every time, what does not is refused with a remedy."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

import omnimask
from omnimask.builder.build import build
from omnimask.component import Component, named
from omnimask.data.planner import Cursor, Place
from omnimask.errors import UserError
from omnimask.recipe import Recipe
from omnimask.testing import synthetic_recipe
from omnimask.testing.requirements import same
from omnimask.testing.synthetic import Waves

IDS = named("target", "ids")
DECODER = named("predictor", "decoder", width=16, depth=1, heads=2, target=IDS)


def joined(**corruptors: str) -> Recipe:
    """Both made-up modalities in one recipe, with a corruptor each."""
    recipe = synthetic_recipe()
    parts = {name: synthetic_recipe(modality=name).modalities[name] for name in corruptors}
    return dataclasses.replace(
        recipe,
        modalities={n: dataclasses.replace(p, corruptor=named("corruptor", corruptors[n])) for n, p in parts.items()},
        predictors=(dataclasses.replace(recipe.predictors[0], of=("letters",)),),
    )


def test_weights_come_from_the_seed_and_touch_no_global_generator() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = build(synthetic_recipe()).model, build(synthetic_recipe()).model
    other = build(dataclasses.replace(synthetic_recipe(), seed=1)).model
    assert torch.equal(torch.get_rng_state(), before)
    pairs = list(zip(first.parameters(), second.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert any(not torch.equal(a, c) for a, _, c in pairs)


def test_special_tokens_are_reserved_for_who_asks() -> None:
    specs = build(joined(letters="mask_token", vectors="mask_token")).specs
    assert {name: (spec.specials, spec.answers) for name, spec in specs.items()} == {
        "letters": (("mask",), 0),
        "vectors": (("mask",), 0),
    }
    recipe = synthetic_recipe(
        corruptor=named("corruptor", "sentinel_spans", num_sentinels=3),
        masker=named("masker", "span"),
        predictor=named("predictor", "autoregressive", width=16, depth=1, heads=2, target=IDS),
    )
    spec = build(recipe).specs["letters"]
    assert spec.specials == ("sentinel_0", "sentinel_1", "sentinel_2", "end", "start")
    assert (spec.num_answers, spec.id("end"), spec.id("start")) == (11, 10, 11)


def test_modalities_may_answer_in_different_streams() -> None:
    built = build(joined(letters="mask_token", vectors="drop"))
    batch = built.pipeline.pack([built.pipeline.sample(Place(0, i, i, 0.0)) for i in range(4)])
    assert built.model.counts(batch) == {"in_place": float(len(batch.views["main"].context.targets))}
    assert bool(torch.isfinite(built.model(batch).loss))


def test_held_out_samples_are_masked_the_same_every_time_and_never_trained_on() -> None:
    built = build(synthetic_recipe())
    assert not set(built.train_indices) & set(built.validation_indices)
    assert len(built.train_indices) + len(built.validation_indices) == 64
    first, second = list(built.validation_batches()), list(built.validation_batches())
    assert same(first, second)
    assert [key for batch in first for key in batch.keys] == [built.dataset.key(i) for i in built.validation_indices]


def test_training_masks_change_with_the_epoch() -> None:
    built = build(synthetic_recipe())
    batches = [built.pipeline([Place(epoch, 0, 3, 0.0)]).batch for epoch in (0, 0, 1)]
    literal = [batch.views["main"].context.literal.tolist() for batch in batches if batch is not None]
    assert literal[0] == literal[1] != literal[2]


def test_steps_hold_as_many_tokens_as_the_recipe_says() -> None:
    recipe = synthetic_recipe()
    built = build(dataclasses.replace(recipe, train=recipe.train.model_copy(update={"steps": 3, "micro_batch_tokens": 64})))
    steps = list(built.loader(Cursor(), 0))
    assert [step.step for step in steps] == [0, 1, 2]
    for step in steps:
        tokens = [batch.num_tokens for batch in step.batches]
        assert 256 - 20 <= sum(tokens) <= 256  # the next sample, of at most 20 tokens, did not fit
        assert max(tokens) <= 64


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (synthetic_recipe(predictor=DECODER), r"decoder reads the query stream.*puts its targets into the context"),
        (synthetic_recipe(corruptor=named("corruptor", "drop")), "in_place reads the context stream"),
        (synthetic_recipe(layer=3), "layer 3 does not exist; the encoder has layers 1 to 2"),
        (joined(letters="drop", vectors="mask_token"), r"in_place reads the context stream.*letters puts its targets into"),
        (synthetic_recipe(modality="vectors", predictor=named("predictor", "in_place", target=IDS)), "use patch"),
        (synthetic_recipe(modality="vectors", corruptor=named("corruptor", "sentinel_spans")), "use drop or mask_token"),
    ],
)
def test_components_that_do_not_fit_are_refused(recipe: Recipe, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(recipe)


class Nothing(Waves):
    def __len__(self) -> int:
        return 0


def test_an_empty_data_set_is_refused() -> None:
    recipe = synthetic_recipe()
    empty: Component[Any] = Component("dataset", "nothing", cls=Nothing, where="r.yaml:9: data")
    with pytest.raises(UserError, match=r"r\.yaml:9: data: the data set is empty"):
        build(dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, dataset=empty)))


class Holes(Waves):
    def __getitem__(self, index: int) -> dict[str, Any]:
        if index % 4 == 0:
            raise OSError("gone")
        return {} if index % 4 == 1 else {"letters": np.arange(4) % 7}


def test_bad_samples_are_left_out_and_named() -> None:
    recipe = synthetic_recipe()
    holes: Component[Any] = Component("dataset", "holes", cls=Holes)
    built = build(dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, dataset=holes)))
    loaded = built.pipeline([Place(0, i, i, 0.0) for i in range(8)])
    assert loaded.batch is not None
    assert loaded.batch.keys == tuple(f"waves/0{i}" for i in (2, 3, 6, 7))
    assert [(bad.key, bad.reason.partition(":")[0]) for bad in loaded.bad] == [
        ("waves/00", "OSError"),
        ("waves/01", "ValueError"),
        ("waves/04", "OSError"),
        ("waves/05", "ValueError"),
    ]
    assert built.pipeline([Place(0, 0, 0, 0.0)]).batch is None


def test_the_package_offers_the_function_however_often_it_is_asked() -> None:
    for _ in range(2):
        assert callable(omnimask.build)
        assert omnimask.build is build
