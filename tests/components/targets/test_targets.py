"""Targets against sums written out by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from omnimask.builder.build import build
from omnimask.component import Component, named
from omnimask.components.targets.ids import Ids
from omnimask.components.targets.patch import Patch
from omnimask.data.planner import Place
from omnimask.interfaces import CONTENT, Context, MaskedBatch, Prediction, Run, TokenSpec
from omnimask.testing import synthetic_recipe
from omnimask.testing.model import changed, shown_tokens


def predicted(modality: str, **options: Component) -> tuple[Prediction, Run]:
    torch.manual_seed(0)
    built = build(synthetic_recipe(modality=modality, **options))
    batch = built.pipeline.pack([built.pipeline.sample(Place(0, i, i, 0.0)) for i in range(4)])
    results = built.model.predict(batch)
    (prediction,) = results["main"].predictions.values()
    return prediction, Run(batch, results)


def dropped() -> dict[str, Component]:
    target = named("target", "patch", normalize=True)
    return {
        "corruptor": named("corruptor", "drop"),
        "predictor": named("predictor", "decoder", width=16, depth=1, heads=2, target=target),
    }


SPEC = TokenSpec(width=(4,), mean=(0.5,), std=(2.0,))


def patch(**options: float | bool) -> Patch:
    return Patch(Context(specs={"vectors": SPEC}, modalities=("vectors",)), **options)  # type: ignore[arg-type]


def test_scaled_content() -> None:
    prediction, run = predicted("vectors")
    answers = patch().answers(prediction, run)
    wanted = (run.batch.store["vectors"].data[prediction.targets.of] - 0.5) / 2.0
    assert torch.equal(answers, wanted)


def test_normalised_content_by_hand() -> None:
    """Unbiased variance of each token's own numbers, and eps inside the root."""
    prediction, run = predicted("vectors")
    found = patch(normalize=True, eps=0.3).answers(prediction, run)
    for row, of in zip(found.tolist(), prediction.targets.of.tolist(), strict=True):
        numbers = [(float(x) - 0.5) / 2.0 for x in run.batch.store["vectors"].data[of]]
        mean = sum(numbers) / 4
        variance = sum((x - mean) ** 2 for x in numbers) / 3
        assert row == pytest.approx([(x - mean) / math.sqrt(variance + 0.3) for x in numbers], abs=1e-5)


def test_loss_is_the_mean_square_of_each_token() -> None:
    prediction, run = predicted("vectors")
    target = patch()
    answers, values = target.answers(prediction, run), prediction.head(prediction.features)
    loss = target.loss(prediction, answers)
    wanted = [
        sum((float(p) - float(a)) ** 2 for p, a in zip(*rows, strict=True)) / 4
        for rows in zip(values.detach(), answers, strict=True)
    ]
    assert loss.tolist() == pytest.approx(wanted, rel=1e-5)


def content(target: Patch, prediction: Prediction, batch: MaskedBatch) -> Tensor:
    out = target.content(prediction, Run(batch, {}))
    assert out is not None
    return out.detach()


@pytest.mark.parametrize("normalize", [False, True])
def test_what_is_shown_depends_on_visible_tokens_alone(normalize: bool) -> None:
    prediction, run = predicted("vectors", **dropped())
    target = patch(normalize=normalize)
    shown = shown_tokens(run.batch)
    hidden = np.setdiff1d(np.arange(run.batch.num_tokens), shown)
    assert len(hidden) == len(prediction.targets)
    before = content(target, prediction, run.batch)
    assert torch.equal(before, content(target, prediction, changed(run.batch, hidden)))
    assert torch.equal(before, content(target, prediction, changed(run.batch, shown))) is not normalize


def test_shown_content_is_in_stored_units() -> None:
    prediction, run = predicted("vectors")
    assert torch.allclose(content(patch(), prediction, run.batch), prediction.head(prediction.features) * 2.0 + 0.5)


def test_a_normalised_prediction_takes_brightness_and_contrast_of_its_neighbours() -> None:
    """Where all visible tokens of a sample are alike, theirs are the statistics, whatever the distances."""
    prediction, run = predicted("vectors", **dropped())
    store = run.batch.store["vectors"]
    alike = torch.tensor([1.0, 2.0, 3.0, 6.0])
    batch = dataclasses.replace(run.batch, store={"vectors": dataclasses.replace(store, data=alike.repeat(len(store.data), 1))})
    scaled = (alike - 0.5) / 2.0
    values = prediction.head(prediction.features) * (scaled.var(unbiased=True) + 1e-6).sqrt() + scaled.mean()
    sees_any = torch.isin(
        torch.from_numpy(np.repeat(prediction.stream.layout.parent, prediction.stream.layout.lengths)),
        owners_of_visible(prediction),
    )
    rows = sees_any[prediction.targets.at[:, 0]]
    assert torch.allclose(content(patch(normalize=True), prediction, batch)[rows], (values * 2.0 + 0.5)[rows], atol=1e-5)


def owners_of_visible(prediction: Prediction) -> Tensor:
    lengths = prediction.context.layout.lengths
    owner = torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths))
    return owner[prediction.context.literal == CONTENT].unique()


def test_ids_by_hand() -> None:
    prediction, run = predicted("letters")
    target = Ids(Context(specs={"letters": TokenSpec(vocabulary=7)}, modalities=("letters",)))
    answers = target.answers(prediction, run)
    assert torch.equal(answers, run.batch.store["letters"].data[prediction.targets.of])
    loss, logits = target.loss(prediction, answers), prediction.head(prediction.features)
    for value, row, answer in zip(loss.tolist(), logits.tolist(), answers.tolist(), strict=True):
        assert value == pytest.approx(math.log(sum(math.exp(x) for x in row)) - row[answer], rel=1e-5)
    shown = target.content(prediction, run)
    assert shown is not None
    assert torch.equal(shown, logits.argmax(1))


def test_a_model_that_knows_nothing_loses_log_vocabulary() -> None:
    prediction, run = predicted("letters")
    blind = dataclasses.replace(prediction, head=lambda features: torch.zeros(len(features), 7))
    target = Ids(Context(specs={"letters": TokenSpec(vocabulary=7)}, modalities=("letters",)))
    assert target.loss(blind, target.answers(blind, run)).tolist() == pytest.approx([math.log(7)] * len(prediction.targets))


def test_literal_answers_take_the_place_of_tokens() -> None:
    predictor = named("predictor", "autoregressive", width=16, depth=1, heads=2, target=named("target", "ids"))
    corruptor, masker = named("corruptor", "sentinel_spans", num_sentinels=5), named("masker", "span", ratio=0.3)
    prediction, run = predicted("letters", predictor=predictor, corruptor=corruptor, masker=masker)
    spec = TokenSpec(vocabulary=7, specials=("sentinel_0",), answers=1)
    answers = Ids(Context(specs={"letters": spec}, modalities=("letters",))).answers(prediction, run)
    table = prediction.targets
    tokens = run.batch.store["letters"].data
    wanted = [
        int(tokens[of]) if of >= 0 else literal for of, literal in zip(table.of.tolist(), table.literal.tolist(), strict=True)
    ]
    assert answers.tolist() == wanted
    assert any(of < 0 for of in table.of.tolist())


def test_targets_refuse_the_other_kind_of_tokens() -> None:
    ids, vectors = TokenSpec(vocabulary=3), TokenSpec(width=(1,))
    with pytest.raises(ValueError, match="use patch"):
        Ids(Context(specs={"m": vectors}, modalities=("m",)))
    with pytest.raises(ValueError, match="use ids"):
        Patch(Context(specs={"m": ids}, modalities=("m",)))
    with pytest.raises(ValueError, match="at least two values"):
        Patch(Context(specs={"m": vectors}, modalities=("m",)), normalize=True)
