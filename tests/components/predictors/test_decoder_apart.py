"""The decoder of single target blocks (I-JEPA): each as if it were alone, and the loss by hand."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from omnimask.builder.build import Built, build
from omnimask.data.planner import Place
from omnimask.interfaces import Layout, MaskedBatch, Run, Stream, View
from omnimask.recipe import load_recipe

sys.path.insert(0, str(Path(__file__).parents[2]))
from toys.conftest import RECIPES, toy_registry

BLOCKS = "modalities.signal.masker={name: multi_block, num_targets: 3, scale: [0.2, 0.3], context_scale: [0.9, 1.0]}"
DECODER = "{{name: decoder, width: 32, depth: 2, heads: 4, apart: {}, position: {{name: {}}}, target: {}}}"
TARGET = "{name: features, of: teacher, loss: smooth_l1}"


def made(apart: bool, position: str = "sincos", *more: str) -> Built:
    predictor = DECODER.format(str(apart).lower(), position, TARGET)
    changes = (BLOCKS, f"predictors=[{predictor}]", "modalities.signal.tokenizer.window=4", *more)
    return build(load_recipe(RECIPES / "signal_latent.yaml", changes, registry=toy_registry()))


def packed(built: Built, *positions: int) -> MaskedBatch:
    batch = built.pipeline([Place(0, at, int(built.train_indices[at]), 0.0) for at in positions]).batch
    assert batch is not None
    return batch


def only(query: Stream, number: int) -> Stream:
    """One sequence of a query stream, without targets."""
    layout = query.layout
    slots = np.arange(layout.offsets[number], layout.offsets[number + 1])
    names = ("source", "literal", "modality", "positions", "has_position", "rank", "block")
    modality = None if layout.modality is None else layout.modality[[number]]
    return dataclasses.replace(
        query,
        **{name: getattr(query, name)[torch.from_numpy(slots)] for name in names},
        layout=Layout(layout.lengths[[number]], layout.parent[[number]], layout.attention, modality),
        kind=query.kind[number : number + 1],
        level=query.level[number : number + 1],
    )


@pytest.mark.parametrize("position", ["sincos", "rotary"])
@pytest.mark.parametrize("summary", [0, 2])
def test_a_block_is_decoded_as_if_alone(position: str, summary: int) -> None:
    more = (f"encoder.summary={summary}",)
    built, together = made(True, position, *more), made(False, position, *more)
    model, batch = built.model.eval(), packed(built, 3)
    predictor, plain = model.predictors["decoder"], together.model.eval().predictors["decoder"]
    view = batch.views["main"]
    assert view.query is not None and view.query.layout.num_sequences == 3
    with torch.no_grad():
        results = model.predict(batch)
        encoded, run = results["main"].encoded, Run(batch, results)
        found = predictor.decode(encoded, view, run)
        joint = plain.decode(encoded, view, run)
        differs = False
        for number, (first, size) in enumerate(zip(view.query.layout.offsets, view.query.layout.lengths, strict=False)):
            alone = plain.decode(encoded, View(view.context, only(view.query, number)), run)(torch.arange(size))
            slots = torch.arange(first, first + size)
            torch.testing.assert_close(found(slots), alone, rtol=1e-5, atol=1e-5)
            differs = differs or not torch.allclose(joint(slots), alone, atol=1e-3)
    assert differs  # decoded together, blocks attend to each other


def test_the_loss_by_hand() -> None:
    """Smooth L1 between predictions and the teacher's normalized features of the same tokens, the mean over all targets."""
    built = made(True)
    model, batch = built.model.eval(), packed(built, 0, 1, 2)
    with torch.no_grad():
        for parameter in model.networks["teacher"].parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        output, results = model(batch), model.predict(batch)
        features = results["teacher"].encoded.features.data
        (prediction,) = results["main"].predictions.values()
        place = {int(source): slot for slot, source in enumerate(batch.views["whole"].context.source)}
        answers = features[[place[int(of)] for of in prediction.targets.of]]
        answers = torch.nn.functional.layer_norm(answers, answers.shape[1:])
        expected = torch.nn.functional.smooth_l1_loss(prediction.head(prediction.features), answers)
    assert output.loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_samples_are_decoded_one_by_one() -> None:
    built = made(True)
    model, batch = built.model.eval(), packed(built, 0, 1, 2, 3)
    with torch.no_grad():
        whole = model.predict(batch)["main"].predictions["decoder"].features
        each = [model.predict(packed(built, at))["main"].predictions["decoder"].features for at in range(4)]
    torch.testing.assert_close(whole, torch.cat(each), rtol=1e-5, atol=1e-5)
