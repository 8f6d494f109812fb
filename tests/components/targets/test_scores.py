"""Scores and candidates against numbers written out by hand, and in chunks against all at once."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from omnimask.builder.build import build
from omnimask.component import named
from omnimask.components.targets.ids import Ids
from omnimask.components.targets.patch import Patch
from omnimask.components.targets.scores import best_ids, rank_ids, score_ids
from omnimask.data.planner import Place
from omnimask.interfaces import Context, Prediction, RanksIds, Run, Scores, TokenSpec
from omnimask.network.model import asked_ids, summed_scores
from omnimask.testing import synthetic_recipe


def predicted(logits: list[list[float]] | Tensor) -> Prediction:
    """A prediction whose features are the logits."""
    nothing: Any = None
    return Prediction(torch.as_tensor(logits), nn.Identity(), nothing, nothing, nothing, "letters")


def test_scores_by_hand() -> None:
    # probabilities 1/2, 1/4, 1/8, 1/16, 1/32, 1/32 of six ids
    row = [math.log(1 / 2 ** (i + 1)) for i in range(5)] + [math.log(1 / 32)]
    found = score_ids(predicted([row, row, row]), torch.tensor([0, 3, 5]), 6)
    assert found["accuracy"].tolist() == [1, 0, 0]
    assert found["top5"].tolist() == [1, 1, 0]  # ids 4 and 5 are equally probable, and the lower one comes first
    assert found["cross_entropy"].tolist() == pytest.approx([math.log(2), math.log(16), math.log(32)])


def test_a_model_that_says_nothing_is_right_by_chance_only() -> None:
    found = score_ids(predicted(torch.zeros(8, 8)), torch.arange(8), 8)
    assert found["accuracy"].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert found["top5"].tolist() == [1, 1, 1, 1, 1, 0, 0, 0]
    assert found["cross_entropy"].tolist() == pytest.approx([math.log(8)] * 8)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_never_right(value: float) -> None:
    logits = torch.zeros(1, 8)
    logits[0, 1] = value
    found = score_ids(predicted(logits), torch.tensor([0]), 8)
    assert not found["accuracy"].any()
    assert not score_ids(predicted(torch.full((1, 8), math.nan)), torch.tensor([0]), 8)["top5"].any()


def test_candidates_by_hand() -> None:
    row = [math.log(share) for share in (0.1, 0.6, 0.05, 0.25)]
    ids, probabilities = rank_ids(predicted([row]), 3, 4)
    assert ids.tolist() == [[1, 3, 0]]
    assert probabilities.tolist()[0] == pytest.approx([0.6, 0.25, 0.1])
    assert rank_ids(predicted([row]), 9, 4)[0].shape == (1, 4)


def test_chunks_change_nothing_and_no_chunk_is_larger_than_allowed() -> None:
    generator = torch.Generator().manual_seed(0)
    head = nn.Linear(5, 40)
    sizes: list[int] = []
    head.register_forward_hook(lambda module, given, result: sizes.append(result.numel()))
    nothing: Any = None
    prediction = Prediction(torch.randn(23, 5, generator=generator), head, nothing, nothing, nothing, "letters")
    answers = torch.randint(40, (23,), generator=generator)
    whole, parts = score_ids(prediction, answers, 40), score_ids(prediction, answers, 40, largest=4 * 40 + 39)
    assert max(sizes[1:]) == 4 * 40
    logits = head(prediction.features)
    assert torch.equal(whole["accuracy"], (logits.argmax(1) == answers).float())
    assert torch.equal(whole["top5"], (logits.topk(5).indices == answers[:, None]).any(1).float())
    for name, values in whole.items():
        torch.testing.assert_close(parts[name], values, rtol=0, atol=1e-6)
        assert not values.requires_grad
    assert torch.equal(best_ids(prediction, 40, 40), logits.argmax(1))
    assert torch.equal(rank_ids(prediction, 4, 40, 40)[0], logits.topk(4).indices)


def test_no_targets() -> None:
    found = score_ids(predicted(torch.zeros(0, 4)), torch.zeros(0, dtype=torch.int64), 4)
    assert {name: tuple(values.shape) for name, values in found.items()} == dict.fromkeys(found, (0,))
    assert rank_ids(predicted(torch.zeros(0, 4)), 2, 4)[0].shape == (0, 2)


def test_capabilities_are_asked_for() -> None:
    ids = Ids(Context(specs={"letters": TokenSpec(vocabulary=7)}, modalities=("letters",)))
    assert isinstance(ids, Scores) and isinstance(ids, RanksIds)
    patch = Patch(Context(specs={"vectors": TokenSpec(width=(4,))}, modalities=("vectors",)))
    assert not isinstance(patch, Scores | RanksIds)


@pytest.mark.parametrize("corruptor", ["mask_token", "drop", "sentinel_spans"])
def test_a_models_scores_are_those_of_its_logits_and_answers(corruptor: str) -> None:
    """Also where some answers are no tokens."""
    names = {"mask_token": "in_place", "drop": "decoder", "sentinel_spans": "autoregressive"}
    size = {} if corruptor == "mask_token" else {"width": 16, "depth": 1, "heads": 2}
    recipe = synthetic_recipe(
        corruptor=named("corruptor", corruptor),
        predictor=named("predictor", names[corruptor], target=named("target", "ids"), **size),
    )
    built = build(recipe)
    batch = built.pipeline.pack([built.pipeline.sample(Place(0, i, i, 0.0)) for i in range(6)])
    run = Run(batch, built.model.predict(batch))
    ((term, scores),) = summed_scores(built.model, run).items()
    prediction = run.results["main"].predictions[term]
    asked = asked_ids(built.model, batch)[term]
    (predictor,) = (predictor for part in built.model.each() for predictor in part.predictors.values())
    assert asked.ids.tolist() == predictor.target("letters").answers(prediction, run).tolist()
    assert (asked.ids >= 7).any() == (corruptor == "sentinel_spans")
    logits = prediction.head(prediction.features)
    assert scores["accuracy"].count == len(asked.ids)
    assert scores["accuracy"].total == (logits.argmax(1).numpy() == asked.ids).sum()
    output = built.model(batch, is_scored=True)
    mean = scores["cross_entropy"].total / scores["cross_entropy"].count
    torch.testing.assert_close(mean, output.terms[term], rtol=1e-5, atol=1e-6)
    assert output.scores[term]["accuracy"].total == scores["accuracy"].total
    assert built.model(batch).scores == {}
