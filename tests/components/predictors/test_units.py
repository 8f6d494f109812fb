"""Heads of whole units and of their tokens at one slot: rows, terms, divisors, and refusals."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from omnimask.builder.build import Built, build
from omnimask.component import named
from omnimask.data.planner import Place
from omnimask.errors import BrokenContract
from omnimask.interfaces import MaskedBatch
from omnimask.recipe import PredictorConfig
from omnimask.testing import synthetic_recipe

LETTERS = 7


def units(num_units: int = 18, max_length: int = 3, masker: Any = None) -> Built:
    masker = masker or named("masker", "lexicon", ratio=0.4, sizes=(12, 6), min_count=2)
    recipe = synthetic_recipe(corruptor=named("corruptor", "unit_token"), masker=masker)
    unit = named("predictor", "unit_mlm", target=named("target", "unit_ids", num_units=num_units))
    token = named("predictor", "unit_tokens", max_length=max_length)
    predictors = (PredictorConfig(unit, ("letters",), None, 1.0, "unit"), PredictorConfig(token, ("letters",), None, 0.5, "token"))
    return build(dataclasses.replace(recipe, predictors=predictors))


def batch(built: Built, count: int = 12) -> MaskedBatch:
    return built.pipeline.pack([built.pipeline.sample(Place(0, i, i, 0.0)) for i in range(count)])


def test_units_and_tokens_are_terms_of_their_own() -> None:
    built = units()
    data = batch(built)
    table = data.views["main"].context.targets
    assert table.index is not None
    is_unit = np.asarray(table.index) < 0
    assert built.model.counts(data) == {"unit": is_unit.sum(), "token": (~is_unit).sum()}
    output = built.model(data, is_scored=True)
    assert output.terms.keys() == {"unit", "token"}
    assert output.loss.item() == pytest.approx(output.terms["unit"].item() + 0.5 * output.terms["token"].item(), rel=1e-6)
    scores = {term: {name: score.count for name, score in found.items()} for term, found in output.scores.items()}
    assert {term: set(found.values()) for term, found in scores.items()} == {"unit": {is_unit.sum()}, "token": {(~is_unit).sum()}}


def test_losses_are_cross_entropies_of_the_units_and_of_the_tokens() -> None:
    built = units()
    data = batch(built)
    table, content = data.views["main"].context.targets, data.store["letters"].data
    predictions = built.model.predict(data)["main"].predictions
    output = built.model(data)
    assert table.index is not None
    is_unit = table.index < 0
    answers = {"unit": table.literal[is_unit], "token": content[table.of[~is_unit]]}
    for term, outputs in (("unit", LETTERS + 18), ("token", LETTERS)):
        logits = predictions[term].head(predictions[term].features)
        assert logits.shape == (len(answers[term]), outputs)
        expected = torch.nn.functional.cross_entropy(logits, answers[term])
        assert output.terms[term].item() == pytest.approx(expected.item(), rel=1e-5)


def test_tokens_of_a_unit_differ_by_their_place() -> None:
    """Two answers at one slot have one feature of the encoder, and predictions of their own."""
    built = units()
    data = batch(built)
    (prediction,) = [p for t, p in built.model.eval().predict(data)["main"].predictions.items() if t == "token"]
    at, index = prediction.targets.at[:, 0], prediction.targets.index
    assert index is not None
    later = int((index == 1).nonzero()[0, 0])
    assert at[later] == at[later - 1] and index[later - 1] == 0
    assert not torch.allclose(prediction.features[later], prediction.features[later - 1])


def test_without_units_nothing_is_asked_of_them() -> None:
    """A masker that numbers no units leaves the coarse term without rows; it weighs nothing."""
    built = units(masker=named("masker", "random", ratio=0.4), max_length=20)
    data = batch(built)
    counts = built.model.counts(data)
    assert counts["unit"] == 0 and counts["token"] > 0
    output = built.model(data)
    output.loss.backward()
    assert output.terms["unit"].item() == 0 and torch.isfinite(output.loss)


def test_a_lexicon_that_is_larger_than_the_head() -> None:
    built = units(num_units=2)
    with pytest.raises(BrokenContract, match=r"at least \d+ units of 'letters'.*9 outputs.*num_units"):
        built.model.counts(batch(built))


def test_units_that_are_longer_than_the_places() -> None:
    built = units(max_length=1)
    with pytest.raises(ValueError, match=r"up to 1 tokens, but one has [23] or more; raise max_length"):
        built.model(batch(built))


def test_whole_units_are_no_answer_for_single_tokens() -> None:
    target = named("target", "unit_ids", num_units=3)
    recipe = synthetic_recipe(corruptor=named("corruptor", "mask_token"), masker=named("masker", "random", ratio=0.4))
    mlm = PredictorConfig(named("predictor", "mlm", target=target, tied=False), ("letters",), None, 1.0, "mlm")
    built = build(dataclasses.replace(recipe, predictors=(mlm,)))
    with pytest.raises(ValueError, match="target unit_ids applies to whole units, but its predictor predicts tokens; use"):
        built.model(batch(built))
