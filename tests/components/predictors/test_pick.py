"""Hidden places pick their tokens: the loss in plain loops, its chunks, and what is compared with what."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from omnimask.builder.build import Built, build
from omnimask.component import Component, named
from omnimask.components.targets.own_tokens import OwnTokens
from omnimask.data.planner import Place
from omnimask.errors import UserError
from omnimask.interfaces import MaskedBatch, Prediction, Run, Sample
from omnimask.recipe import Recipe
from omnimask.testing.synthetic import synthetic_recipe


def recipe_of(modality: str = "vectors", encoder: Component[Any] | None = None, **options: Any) -> Recipe:
    predictor = named("predictor", "pick", **{"heads": 2, "layers": 2, **options})
    return synthetic_recipe(predictor=predictor, corruptor=named("corruptor", "drop"), modality=modality, encoder=encoder)


def samples_of(built: Built) -> list[Sample]:
    return built.pipeline.samples([Place(0, number, number, 0.0) for number in range(9)])[0]


def predicted(built: Built, batch: MaskedBatch) -> tuple[OwnTokens, Prediction, Tensor]:
    """The target, what is predicted, and the answers."""
    (part,) = built.model.each()
    (predictor,) = part.predictors.values()
    results = built.model.predict(batch)
    (prediction,) = results["main"].predictions.values()
    target: Any = predictor.target(prediction.modality)
    assert isinstance(target, OwnTokens)
    return target, prediction, target.answers(prediction, Run(batch, results))


def logits_by_hand(built: Built, batch: MaskedBatch, prediction: Prediction) -> list[tuple[Tensor, int]]:
    """For every row the logits of the tokens of its sequence, and which of them is right."""
    (part,) = built.model.each()
    (name,) = part.embeddings.keys()
    layout, table = prediction.stream.layout, prediction.targets
    owner = np.repeat(np.arange(layout.num_sequences), layout.lengths)[table.at[:, 0]]
    embedded = part.embeddings[name](batch.store[name].data)
    found = []
    for row in range(len(table)):
        own = np.flatnonzero(owner == owner[row])
        logits = [prediction.features[row] @ embedded[table.of[other]] / prediction.features.shape[1] ** 0.5 for other in own]
        found.append((torch.stack(logits), int(np.flatnonzero(own == row)[0])))
    return found


@pytest.mark.parametrize("modality", ["vectors", "letters"])
def test_loss_and_accuracy_in_plain_loops(modality: str) -> None:
    built = build(recipe_of(modality))
    batch = built.pipeline.pack(samples_of(built))
    target, prediction, answers = predicted(built, batch)
    assert len(set(prediction.stream.layout.lengths.tolist())) > 2
    expected = logits_by_hand(built, batch, prediction)
    loss = torch.stack([torch.logsumexp(logits, 0) - logits[right] for logits, right in expected])
    torch.testing.assert_close(target.loss(prediction, answers), loss, rtol=1e-5, atol=1e-6)
    scores = target.scores(prediction, answers)
    torch.testing.assert_close(scores["cross_entropy"], loss, rtol=1e-5, atol=1e-6)
    if modality == "vectors":  # equal letters have equal logits up to rounding
        assert scores["accuracy"].tolist() == [float(int(logits.argmax()) == right) for logits, right in expected]


@pytest.mark.parametrize("largest", [1, 7, 40, 200])
def test_chunks_change_nothing(largest: int) -> None:
    built = build(recipe_of())
    batch = built.pipeline.pack(samples_of(built))
    target, prediction, answers = predicted(built, batch)
    found = []
    for size in (1 << 24, largest):
        built.model.zero_grad(set_to_none=True)
        target, prediction, answers = predicted(built, batch)
        loss = target.loss(prediction, answers, largest=size)
        loss.square().sum().backward()
        gradients = torch.cat([p.grad.flatten() for p in built.model.parameters() if p.grad is not None])
        scores = target.scores(prediction, answers, largest=size)
        found.append((loss, gradients, scores["accuracy"], scores["cross_entropy"]))
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)


def test_no_chunk_has_more_logits_than_allowed() -> None:
    built = build(recipe_of())
    target, prediction, answers = predicted(built, built.pipeline.pack(samples_of(built)))
    compared = target._compared(prediction, answers)
    for largest in (16, 64, 1000):
        sizes = [queries.shape[0] * queries.shape[1] * candidates.shape[1] for queries, candidates, _ in compared.jobs(largest)]
        assert max(sizes) <= largest
        assert sum(sizes) == (compared.lengths**2).sum()


def test_distractors_are_those_of_the_sample_alone() -> None:
    """Other samples in the batch change neither loss nor gradient, although every one of them is a candidate elsewhere."""
    built = build(recipe_of())
    samples = samples_of(built)
    alone = []
    for batch in (built.pipeline.pack(samples[:1]), built.pipeline.pack(samples)):
        target, prediction, answers = predicted(built, batch)
        count = int(prediction.stream.layout.lengths[0])
        alone.append(target.loss(prediction, answers)[:count])
    torch.testing.assert_close(alone[1], alone[0], rtol=1e-5, atol=1e-6)


def test_targets_of_a_subset_or_in_another_order() -> None:
    """Rows need not be in the order of slots."""
    built = build(recipe_of())
    batch = built.pipeline.pack(samples_of(built))
    target, prediction, answers = predicted(built, batch)
    order = torch.randperm(len(prediction.targets), generator=torch.Generator().manual_seed(0))
    table = prediction.targets
    mixed = dataclasses.replace(table, at=table.at[order], of=table.of[order], literal=table.literal[order])
    other = dataclasses.replace(prediction, targets=mixed, features=prediction.features[order])
    torch.testing.assert_close(target.loss(other, answers[order]), target.loss(prediction, answers)[order])


def test_the_summary_may_be_the_pooled_vector() -> None:
    encoder = named("encoder", "transformer", width=32, depth=2, heads=2, summary=2)
    built = build(recipe_of(encoder=encoder, pool="summary", layers=0))
    batch = built.pipeline.pack(samples_of(built))
    result = built.model.predict(batch)["main"]
    (prediction,) = result.predictions.values()
    (part,) = built.model.each()
    (predictor,) = part.predictors.values()
    query: Any = batch.views["main"].query
    parent = np.repeat(query.layout.parent, query.layout.lengths)
    assert result.encoded.summary is not None
    expected = result.encoded.summary.mean(1)[parent] + predictor.position(query).added  # pyright: ignore
    torch.testing.assert_close(prediction.features, expected[prediction.targets.at[:, 0]])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="the encoder has no summary tokens"):
        build(recipe_of(pool="summary"))
    with pytest.raises(UserError, match="predictor pick takes positions that add to embeddings"):
        build(recipe_of(position=named("position", "rotary")))
    with pytest.raises(UserError, match=r"corruptor that removes masked tokens \(drop\)"):
        build(synthetic_recipe(predictor=named("predictor", "pick", heads=2), modality="vectors"))
    with pytest.raises(UserError, match="choose position sincos or learned"):
        build(recipe_of(position=named("position", "none")))
