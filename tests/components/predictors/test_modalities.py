"""Slots of different modalities at equal positions: told apart where there are several, as they were where there is one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from omnimask.component import Component, named
from omnimask.components.corruptors.drop import Drop
from omnimask.components.corruptors.mask_token import MaskToken
from omnimask.components.embeddings.linear import LinearEmbedding
from omnimask.data.collation import collate
from omnimask.interfaces import NOTHING, Context, Draw, Masking, Packed, Run, Sample, Tokens, TokenSpec, View
from omnimask.network.embed import embed
from omnimask.streams import sequence

WIDTH, LENGTH = 16, 6
SPEC = TokenSpec(width=(4,), extent=(LENGTH,))
SIZES = {"width": WIDTH, "depth": 1, "heads": 2}
ENCODERS: dict[str, dict[str, Any]] = {
    "transformer": SIZES,
    "bert": {**SIZES, "position": named("position", "sincos")},
    "modernbert": {**SIZES, "position": named("position", "sincos"), "local_position": named("position", "none")},
}


def _context(count: int, width: int = 0, **more: Any) -> Context:
    specs = {f"m{number}": SPEC for number in range(count)}
    return Context(specs=specs, modalities=tuple(specs), width=width, **more)


def _batch(context: Context, corruptor: Any) -> Any:
    """One sample whose modalities have equal content, equal places, and the same places hidden."""
    content = np.random.default_rng(0).normal(size=(LENGTH, 4)).astype(np.float32)
    tokens = Tokens(content, np.arange(LENGTH, dtype=np.float32)[:, None])
    sample = Sample(dict.fromkeys(context.specs, tokens), Draw(0, 0, "one"), tuple(context.specs))
    is_hidden = np.arange(LENGTH) >= LENGTH // 2
    masking = {name: Masking(~is_hidden, is_hidden, np.ones(LENGTH, np.float32)) for name in context.specs}
    return collate([sample], [{"main": corruptor(sample, masking)}], context.specs)


def _encoder(name: str, context: Context, **options: Any) -> Any:
    torch.manual_seed(0)
    return Component("encoder", name, {**ENCODERS[name], **options})(context).eval()


def _features(encoder: Any, context: Context, batch: Any) -> Any:
    """Of a stream in which every modality is embedded by the same weights, so that only the encoder can tell them apart."""
    embedding: Any = LinearEmbedding(Context(specs=context.specs, modalities=(context.modalities[0],), width=WIDTH))
    stream = batch.views["main"].context
    shared: dict[str, Any] = dict.fromkeys(context.specs, embedding)
    embedded = embed(stream, batch, shared, WIDTH)
    return encoder(Packed(embedded, stream.layout), stream, batch)


def _halves(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    first, second = features.chunk(2)
    return first, second


class PlacesAlone:
    """Shows nothing but places."""

    def __call__(self, sample: Sample, masking: Any) -> View:
        return View(sequence(sample, np.arange(len(sample)), literal=np.full(len(sample), NOTHING)))


@pytest.mark.parametrize(
    ("way", "shows_content", "differs"),
    [
        ("hidden", False, True),
        ("hidden", True, False),
        ("all", False, True),
        ("all", True, True),
        ("none", False, False),
    ],
)
@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_tells_modalities_apart(name: str, way: str, shows_content: bool, differs: bool) -> None:
    """Embedded by the same weights, so that content says nothing of the modality here."""
    context = _context(2)
    batch = _batch(context, Drop(context) if shows_content else PlacesAlone())
    with torch.no_grad():
        features = _features(_encoder(name, context, modality_embedding=way), context, batch).features.data
    first, second = _halves(features)
    if differs:
        assert (first - second).abs().amax(1).min() > 1e-3
    else:
        assert torch.allclose(first, second, atol=1e-6)


@pytest.mark.parametrize("name", ["decoder", "cross_decoder"])
def test_hidden_places_at_equal_positions_differ(name: str) -> None:
    context = _context(2)
    batch = _batch(context, Drop(context))
    encoder = _encoder("transformer", context)

    def answers(modality_embedding: str) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(1)
        options = {**SIZES, "target": named("target", "patch"), "modality_embedding": modality_embedding}
        predictor: Any = Component("predictor", name, options)(_context(2, WIDTH, depth=1, label="p")).eval()
        with torch.no_grad():
            found = predictor.predict(_features(encoder, context, batch), batch.views["main"], Run(batch, {}))
        first, second = (prediction.features for prediction in found.values())
        return first, second

    for way in ("hidden", "all"):
        first, second = answers(way)
        assert len(first) == len(second) == LENGTH // 2
        assert (first - second).abs().amax(1).min() > 1e-3
    first, second = answers("none")
    assert torch.allclose(first, second, atol=1e-6), "one mask vector serves all where the recipe asks for it"


@pytest.mark.parametrize("name", ENCODERS)
def test_one_modality_has_no_vector(name: str) -> None:
    for way in ("hidden", "all", "none"):
        state = _encoder(name, _context(1), modality_embedding=way).state_dict()
        assert not any("modalities" in key for key in state)
    assert _encoder(name, _context(2)).state_dict()["modalities.weight"].shape == (2, WIDTH)


@pytest.mark.parametrize("name", ["decoder", "cross_decoder"])
def test_one_modality_keeps_its_mask_vector(name: str) -> None:
    options = {**SIZES, "target": named("target", "patch")}
    context = _context(1, WIDTH, depth=1, label="p")
    state = Component("predictor", name, options)(context).state_dict()
    assert state["mask_vector"].shape == (WIDTH,) and not any("modalities" in key for key in state)
    several = Component("predictor", name, options)(_context(3, WIDTH, depth=1, label="p"))
    assert several.state_dict()["mask_vector"].shape == (3, WIDTH)


def test_places_without_content_differ_in_an_encoder_too() -> None:
    """Where tokens are hidden in place, and both modalities show the same special vector."""
    specs = {name: TokenSpec(width=(4,), extent=(LENGTH,), specials=("mask",)) for name in ("m0", "m1")}
    context = Context(specs=specs, modalities=tuple(specs))
    batch = _batch(context, MaskToken(context))
    with torch.no_grad():
        features = _features(_encoder("transformer", context), context, batch).features.data
    first, second = _halves(features)
    assert (first - second)[LENGTH // 2 :].abs().amax(1).min() > 1e-3
