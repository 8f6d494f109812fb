"""The packed transformer: taps, summaries, checkpointing, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from omnimask.builder.build import Built, build
from omnimask.component import Component, named
from omnimask.components.encoders.transformer import TransformerEncoder
from omnimask.data.planner import Place
from omnimask.interfaces import Context, Encoded, MaskedBatch, TokenSpec
from omnimask.testing import synthetic_recipe
from omnimask.testing.requirements import gradient


def built(modality: str = "letters", **options: Any) -> Built:
    settings = {"width": 32, "depth": 2, "heads": 2, "position": named("position", "sincos"), **options}
    return build(synthetic_recipe(encoder=Component("encoder", "transformer", settings), modality=modality))


def batch(of: Built, count: int = 5) -> MaskedBatch:
    return of.pipeline.pack([of.pipeline.sample(Place(0, i, i, 0.0)) for i in range(count)])


def encoded(of: Built, data: MaskedBatch, *layers: int) -> Encoded:
    return of.model.passes["main"].network(data.views["main"].context, data, layers=layers)


def test_taps_are_the_outputs_of_the_blocks() -> None:
    part = built()
    data = batch(part)
    main = part.model.each()[0]
    outputs: dict[int, torch.Tensor] = {}
    encoder: Any = main.encoder
    for number, block in enumerate(encoder.stack.blocks, start=1):
        block.register_forward_hook(lambda _m, _a, out, number=number: outputs.__setitem__(number, out))
    found = encoded(part, data, 1, 2)
    assert set(found.layers) == {1, 2}
    assert all(torch.equal(found.at(number), outputs[number]) for number in (1, 2))
    assert torch.equal(found.at(None), encoder.norm(outputs[2]))


@pytest.mark.parametrize("position", ["sincos", "rotary", "learned", "none"])
def test_summary_of_each_sample_is_its_own(position: str) -> None:
    part = built(summary=2, position=named("position", position))
    data = batch(part)
    whole = encoded(part, data)
    assert whole.summary is not None
    assert whole.summary.shape == (5, 2, 32)
    assert whole.features.data.shape == (data.num_tokens, 32)
    for number in range(5):
        alone = encoded(part, part.pipeline.pack([part.pipeline.sample(Place(0, number, number, 0.0))]))
        assert alone.summary is not None
        assert torch.allclose(alone.summary[0], whole.summary[number], atol=1e-5)  # float32, widths of 32: about 80 epsilons
    assert not torch.allclose(whole.summary[0], whole.summary[1], atol=1e-3)


def test_summary_taps_keep_slot_coordinates() -> None:
    part = built(summary=2)
    data = batch(part)
    main = part.model.each()[0]
    found = encoded(part, data, 2)
    encoder: Any = main.encoder
    assert torch.allclose(encoder.norm(found.layers[2]), found.features.data, atol=1e-6)


def test_in_store_puts_features_at_their_tokens() -> None:
    part = built()
    data = batch(part)
    found = encoded(part, data)
    store = found.in_store(data.num_tokens)
    assert torch.equal(store[found.stream.source], found.features.data)


def test_activation_checkpointing_changes_no_gradient() -> None:
    part = built()
    data = batch(part)
    encoder: Any = part.model.each()[0].encoder
    found = []
    for enabled in (False, True):
        encoder.stack.set_activation_checkpointing(enabled)
        part.model.zero_grad()
        part.model(data).loss.backward()
        found.append(gradient(part.model))
    assert torch.equal(found[0], found[1])


def test_refusals() -> None:
    context = Context(specs={"m": TokenSpec(vocabulary=3)}, modalities=("m",))
    with pytest.raises(ValueError, match="width 32 is not a multiple of heads 5; choose for example heads 4"):
        TransformerEncoder(context, width=32, depth=1, heads=5)
    part = built()
    data = batch(part)
    found = encoded(part, data)
    encoder: Any = part.model.each()[0].encoder
    with pytest.raises(ValueError, match="has no cross-attention"):
        encoder(found.features, found.stream, data, context=found)
