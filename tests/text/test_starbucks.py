"""Starbucks: the published sizes, that every sub-model learns, and that a sub-model can be used alone."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest
import torch

from omnimask.components.predictors.matryoshka import of_size
from omnimask.data.planner import Place
from omnimask.network.blocks import Stack
from omnimask.network.pooling import pooled
from omnimask.recipe import load_recipe

from .learning import BYTES, batches, learn, same_texts, small

SIZES = ((1, 16), (2, 64))
SMALL = tuple(
    f"predictors.{number}.{key}"
    for number in (0, 1)
    for key in ("sizes=[[1, 16], [2, 64]]", *(() if number == 0 else ("inner.heads=4", "inner.mlp_width=128", "inner.dropout=0")))
)


def test_published_sizes() -> None:
    recipe = load_recipe("text/starbucks", ["data.path=.", "modalities.text.tokenizer.path=."])
    sizes = ((2, 32), (4, 64), (6, 128), (8, 256), (10, 512), (12, 768))
    assert [predictor.component.options["sizes"] for predictor in recipe.predictors] == [sizes, sizes]
    assert [predictor.weight for predictor in recipe.predictors] == pytest.approx([1 / 12, 1 / 12])
    assert [predictor.component.options["distance"] for predictor in recipe.predictors] == [0, 0]
    decode = recipe.views["decode"]
    assert decode.maskers["text"].options["ratio"] == 0.4 and decode.draw is None
    inner = recipe.predictors[1].component.options["inner"]
    assert (inner.name, inner.options["depth"], inner.options["project"]) == ("bottleneck", 1, True)


def test_what_the_encoder_does_not_see_the_decoder_does_not_see() -> None:
    """But for the last word of the smaller share, which is taken to make it exact."""
    built = small("text/starbucks", *SMALL)
    for batch in batches(built, 3):
        encoder, decoder = (set(batch.views[name].context.targets.of.tolist()) for name in ("main", "decode"))
        assert len(encoder - decoder) <= 0.02 * len(encoder)
        assert 1.8 < len(decoder) / len(encoder) < 2.2


def test_the_loss_of_every_sub_model_falls() -> None:
    """on 8 texts in bytes, masked anew in every step."""
    built = small("text/starbucks", *SMALL, tokenizer=BYTES)
    steps = learn(built, same_texts(built, 8, 60))
    assert set(steps[0].losses) == {"mlm.1x16", "mlm.2x64", "bottleneck.1x16", "bottleneck.2x64"}
    for term, first in steps[0].losses.items():
        assert steps[-1].losses[term] < 0.7 * first, term


@torch.no_grad()
def test_a_sub_model_is_the_first_layers_alone() -> None:
    """An encoder that has no other layers gives the same vector."""
    built = small("text/starbucks", *SMALL)
    samples = [built.pipeline.sample(Place(0, at, index, 0.0)) for at, index in enumerate(built.train_indices[:4].tolist())]
    batch, part = built.pipeline.pack(samples), built.model.eval().each()[0]
    layers, width = SIZES[0]
    vector = pooled(of_size(part(batch, {}).encoded, 2, layers, width), "first")
    assert vector.shape == (4, 64) and not vector[:, width:].any() and vector[:, :width].all()
    alone = copy.deepcopy(part.network)
    stack = cast(Any, alone.encoder).stack
    alone.encoder.stack = Stack(list(stack.blocks)[:layers])
    assert torch.equal(pooled(alone(batch.views["main"].context, batch), "first")[:, :width], vector[:, :width])
