"""Scores that put the samples of a group in order: pairs, losses by hand, and what is not compared."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from omnimask.builder.build import Built, build
from omnimask.component import named
from omnimask.components.predictors.preference import PairOrder, Preference
from omnimask.data.planner import Place
from omnimask.interfaces import Context, FieldSpec, MaskedBatch
from omnimask.testing import synthetic_recipe

NUMBER = FieldSpec("float32", arity=0)


def built(group: int = 4, **options: object) -> Built:
    return build(synthetic_recipe(predictor=named("predictor", "preference", field="mean", **options), group=group))


def batch(of: Built, labels: list[float], group: list[int]) -> MaskedBatch:
    samples, _ = of.pipeline.samples([Place(0, place, place, 0.0) for place in range(len(labels))])
    made = of.pipeline.pack(samples)
    return dataclasses.replace(made, labels={"mean": np.array(labels, np.float32)}, group=np.array(group))


def test_pairs_are_those_of_a_group_with_different_labels() -> None:
    found = built()
    data = batch(found, [1.0, 2.0, 2.0, np.nan, 0.0, -1.0], [0, 0, 0, 0, 1, 1])
    order = PairOrder(Context(labels={"mean": NUMBER}), "mean", 1.0)
    assert order.pairs(data, np.arange(6)).tolist() == [[1, 0], [2, 0], [4, 5]]
    assert order.pairs(data, np.array([5, 4])).tolist() == [[1, 0]]
    assert found.model.counts(data) == {"preference": 3.0}


def test_the_loss_is_the_mean_hinge_of_the_pairs() -> None:
    found = built(margin=0.25)
    data = batch(found, [0.0, 3.0, -1.0, np.nan], [0, 0, 0, 0])
    output = found.model(data, is_scored=True)
    prediction = found.model.predict(data)["main"].predictions["preference"]
    score = prediction.head(prediction.features).squeeze(1).detach()
    pairs = [(1, 0), (1, 2), (0, 2)]
    expected = sum(max(0.0, 0.25 - float(score[a] - score[b])) for a, b in pairs) / 3
    assert output.loss.item() == pytest.approx(expected, rel=1e-6)
    right = output.scores["preference"]["accuracy"]
    assert (right.total.item(), right.count) == (sum(score[a] > score[b] for a, b in pairs), 3)


def test_a_batch_without_pairs_has_no_loss() -> None:
    found = built()
    data = batch(found, [1.0, 2.0], [0, 1])
    output = found.model(data)
    assert found.model.counts(data) == {"preference": 0.0}
    assert output.loss.item() == 0.0
    output.loss.backward()
    assert all(p.grad is None or not bool(p.grad.any()) for p in found.model.parameters())


def test_an_order_is_learned() -> None:
    """The mean of a sample's vectors, of groups of four: from chance to nearly all pairs."""
    recipe = synthetic_recipe(
        predictor=named("predictor", "preference", field="mean", pool="mean"),
        masker=named("masker", "none"),
        modality="vectors",
        group=4,
    )
    found = build(recipe)
    places = [Place(0, position, index, 0.0) for position, index in enumerate(found.train_indices[:48].tolist())]
    data = found.pipeline(places).batch
    assert data is not None
    optimizer = torch.optim.AdamW(found.model.parameters(), lr=3e-3)
    accuracy: list[float] = []
    for _ in range(60):
        output = found.model(data, is_scored=True)
        score = output.scores["preference"]["accuracy"]
        accuracy.append(score.total.item() / score.count)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
    assert accuracy[-1] > 0.95


def test_labels_must_be_declared_numbers() -> None:
    with pytest.raises(ValueError, match=r"reads label 'rank', which is not declared; .* add labels: \{rank: \{\}\}"):
        Preference(Context(width=8), field="rank")
    classes = FieldSpec("int64", arity=0, classes=2)
    with pytest.raises(ValueError, match="compares numbers, but label 'rank' has classes;"):
        Preference(Context(width=8, labels={"rank": classes}), field="rank")
    with pytest.raises(ValueError, match="the encoder has no summary tokens"):
        Preference(Context(width=8, labels={"rank": NUMBER}), field="rank", pool="summary")
