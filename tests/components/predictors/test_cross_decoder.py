"""The cross decoder: what its slots see, which layers it reads, and its formula on one sequence."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from omnimask.builder.build import Built, build
from omnimask.component import Component, named
from omnimask.data.planner import Place
from omnimask.errors import UserError
from omnimask.interfaces import View
from omnimask.testing.synthetic import synthetic_recipe

SIZES = {"width": 24, "depth": 2, "heads": 2, "target": named("target", "patch")}


def built(depth: int = 3, layer: int | None = None, **options: Any) -> Built:
    encoder = {"width": 32, "depth": depth, "heads": 2, "summary": 1, "position": named("position", "sincos")}
    return build(
        synthetic_recipe(
            encoder=Component("encoder", "transformer", encoder),
            predictor=Component("predictor", "cross_decoder", {**SIZES, **options}),
            corruptor=named("corruptor", "drop"),
            modality="vectors",
            layer=layer,
        )
    )


def batch_of(part: Built, count: int = 5) -> Any:
    return part.pipeline.pack([part.pipeline.sample(Place(0, i, i, 0.0)) for i in range(count)])


def answers(part: Built, batch: Any) -> torch.Tensor:
    (prediction,) = part.model.eval().predict(batch)["main"].predictions.values()
    return prediction.features


def without_first_query_slots(batch: Any) -> tuple[Any, torch.Tensor]:
    """The batch, asking for all but the first hidden place of every sample, and the places that are left."""
    view: View = batch.views["main"]
    assert view.query is not None
    query, layout = view.query, view.query.layout
    keep = np.ones(layout.num_slots, bool)
    keep[layout.offsets[:-1][layout.lengths > 0]] = False
    index = torch.from_numpy(np.flatnonzero(keep))
    slots = {
        name: getattr(query, name)[index]
        for name in ("source", "literal", "modality", "positions", "has_position", "rank", "block")
    }
    table = query.targets
    fewer = dataclasses.replace(
        table,
        at=torch.arange(len(index))[:, None],
        of=table.of[index],
        literal=table.literal[index],
        weight=table.weight[index],
        spans={"vectors": (0, len(index))},
    )
    lengths = np.maximum(layout.lengths - 1, 0)
    changed = dataclasses.replace(query, **slots, targets=fewer, layout=dataclasses.replace(layout, lengths=lengths))
    return dataclasses.replace(batch, views={"main": dataclasses.replace(view, query=changed)}), index


@pytest.mark.parametrize("self_attention", [False, True])
def test_an_answer_depends_on_other_questions_only_with_self_attention(self_attention: bool) -> None:
    part = built(self_attention=self_attention)
    batch = batch_of(part)
    fewer, index = without_first_query_slots(batch)
    whole, some = answers(part, batch)[index], answers(part, fewer)
    assert torch.allclose(whole, some, atol=1e-5) != self_attention


@pytest.mark.parametrize(("wanted", "layers"), [(1, ()), (2, (2,)), (3, (1, 2)), ("all", (1, 2))])
def test_feature_maps_are_the_last_layers(wanted: Any, layers: tuple[int, ...]) -> None:
    part = built(feature_maps=wanted)
    predictor: Any = next(iter(part.model.each()[0].predictors.values()))
    assert tuple(predictor.layers) == layers
    assert (predictor.mixture is None) == (not layers)


def test_every_block_learns_a_mixture_of_its_own() -> None:
    part = built(feature_maps="all")
    part.model(batch_of(part)).loss.backward()
    predictor: Any = next(iter(part.model.each()[0].predictors.values()))
    assert torch.equal(predictor.mixture, torch.full((2, 3), 1 / 3))
    assert predictor.mixture.grad.ne(0).all()
    assert not torch.equal(predictor.mixture.grad[0], predictor.mixture.grad[1])
    encoder: Any = part.model.each()[0].encoder
    assert encoder.norm.weight.grad.ne(0).any()


@torch.no_grad()
def test_a_block_is_cross_attention_and_an_mlp() -> None:
    """One sample and one head, written out."""
    part = built(heads=1)
    batch = batch_of(part, 1)
    view = batch.views["main"]
    encoded = part.model.eval().predict(batch)["main"].encoded
    predictor: Any = next(iter(part.model.each()[0].predictors.values()))
    x = predictor.mask_vector + predictor.position(view.query).added
    for block in predictor.stack.blocks:
        query = block.cross.query(block.norm_context(x))
        key, value = block.cross.key_value(encoded.features.data).chunk(2, dim=1)
        x = x + block.cross.project((query @ key.T / 24**0.5).softmax(1) @ value)
        x = x + block.mlp(block.norm_mlp(x))
    expected = predictor.norm(x[view.query.targets.at[:, 0]])
    torch.testing.assert_close(answers(part, batch), expected, rtol=1e-4, atol=1e-5)


def test_more_maps_than_layers_and_a_layer_beside_maps_are_refused() -> None:
    with pytest.raises(UserError, match="feature_maps 4: the encoder has 3 layers"):
        built(feature_maps=4)
    with pytest.raises(UserError, match="feature_maps 2 and layer 1 conflict;"):
        built(feature_maps=2, layer=1)


def test_a_sample_without_visible_tokens_is_answered() -> None:
    part = built()
    hidden = build(
        dataclasses.replace(
            part.recipe,
            modalities={
                "vectors": dataclasses.replace(part.recipe.modalities["vectors"], masker=named("masker", "random", ratio=1.0))
            },
        )
    )
    loss = hidden.model(batch_of(hidden)).loss
    loss.backward()
    assert torch.isfinite(loss)
