"""Which slots show another token, by hand, and what a model makes of it."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np
import pytest
import torch

from omnimask.builder.build import build
from omnimask.component import named
from omnimask.components.targets.was_replaced import WasReplaced
from omnimask.data.planner import Place
from omnimask.interfaces import CONTENT, Context, Run, TokenSpec
from omnimask.recipe.config import ViewConfig
from omnimask.testing import synthetic_recipe


def predicted(ask: Literal["all"] | None):
    torch.manual_seed(0)
    predictor = named("predictor", "in_place", target=named("target", "was_replaced"))
    recipe = synthetic_recipe(modality="letters", corruptor=named("corruptor", "substitute"), predictor=predictor)
    built = build(dataclasses.replace(recipe, views={"main": ViewConfig("main", ask=ask)}))
    batch = built.pipeline.pack([built.pipeline.sample(Place(0, i, i, 0.0)) for i in range(6)])
    results = built.model.predict(batch)
    (prediction,) = results["main"].predictions.values()
    return built.model, prediction, Run(batch, results)


def target() -> WasReplaced:
    return WasReplaced(Context(specs={"letters": TokenSpec(vocabulary=5)}, modalities=("letters",)))


def test_answers_are_where_another_id_is_shown() -> None:
    _, prediction, run = predicted("all")
    found = target().answers(prediction, run)
    stream, content = prediction.stream, run.batch.store["letters"].data
    wanted = [
        literal != CONTENT and literal != content[of].item()
        for literal, of in zip(stream.literal.tolist(), stream.source.tolist(), strict=True)
    ]
    assert found.tolist() == wanted
    assert len(found) == run.batch.num_tokens
    assert 0 < found.sum() < len(found)


def test_substituted_tokens_alone_are_all_replaced() -> None:
    _, prediction, run = predicted(None)
    assert target().answers(prediction, run).all()


def test_loss_and_score_by_hand() -> None:
    _, prediction, run = predicted("all")
    answers = target().answers(prediction, run)
    logits = prediction.head(prediction.features).squeeze(1).tolist()
    loss = target().loss(prediction, answers).tolist()
    wanted = [math.log1p(math.exp(-x if is_replaced else x)) for x, is_replaced in zip(logits, answers.tolist(), strict=True)]
    assert loss == pytest.approx(wanted, abs=1e-6)
    accuracy = target().scores(prediction, answers)["accuracy"].mean().item()
    assert accuracy == pytest.approx(np.mean([(x > 0) == right for x, right in zip(logits, answers.tolist(), strict=True)]))


def test_a_judgement_is_no_content() -> None:
    _, prediction, run = predicted("all")
    assert target().content(prediction, run) is None


def test_continuous_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="are continuous"):
        WasReplaced(Context(specs={"m": TokenSpec(width=(2,))}, modalities=("m",)))


def test_rows_of_units_say_themselves_whether_they_are_originals() -> None:
    """Answers do not come from comparing ids there, which may agree by chance, in their first token say."""
    _, prediction, run = predicted("all")
    count = len(prediction.targets)
    index, literal = torch.zeros(count, dtype=torch.long), torch.full((count,), -1)
    index[:3], literal[:3] = -1, torch.tensor([0, 1, 0])
    of = torch.where(index < 0, -1, prediction.targets.of)
    marked = dataclasses.replace(prediction, targets=dataclasses.replace(prediction.targets, of=of, index=index, literal=literal))
    answers = target().answers(marked, run)
    assert answers[:3].tolist() == [False, True, False]
    assert torch.equal(answers[3:], target().answers(prediction, run)[3:])
