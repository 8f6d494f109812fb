"""Predictors: rows and terms, what a decoder reads, left-to-right consistency."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from omnimask.builder.build import Built, build
from omnimask.component import Component, named
from omnimask.components.predictors.base import PredictorModule, rows
from omnimask.data.planner import Place
from omnimask.errors import UserError
from omnimask.interfaces import Context, MaskedBatch, Target, Targets
from omnimask.packed import to_tensors
from omnimask.streams import targets
from omnimask.testing import synthetic_recipe

IDS = named("target", "ids")


def batch(of: Built, count: int = 4) -> MaskedBatch:
    return of.pipeline.pack([of.pipeline.sample(Place(0, i, i, 0.0)) for i in range(count)])


def dropped(**options: object) -> Built:
    predictor = named("predictor", "decoder", width=16, depth=1, heads=2, target=IDS, **options)
    return build(synthetic_recipe(predictor=predictor, corruptor=named("corruptor", "drop")))


def test_rows_are_slices() -> None:
    table: Targets = to_tensors(targets([3, 1, 2], [0, 1, 2], literal=[-1, 5, -1], weight=[1, 2, 3], index=[0, 1, 0]))
    part = rows(table, 1, 3)
    assert (part.at[:, 0].tolist(), part.of.tolist(), part.literal.tolist(), part.weight.tolist()) == (
        [1, 2],
        [1, 2],
        [5, -1],
        [2, 3],
    )
    assert part.index is not None
    assert part.index.tolist() == [1, 0]
    assert rows(table, 0, 3) is table


class HeadsAlone(PredictorModule):
    """Defines its heads and nothing else."""

    reads = "context"

    def __init__(self, context: Context, *, target: Component[Target]) -> None:
        super().__init__(context, target)
        self.heads = self.linear_heads(context.width)


@torch.no_grad()
@pytest.mark.parametrize("layer", [None, 1])
def test_heads_alone_answer_from_the_features_at_the_targets(layer: int | None) -> None:
    predictor = Component("predictor", "heads", {"target": IDS}, cls=HeadsAlone)
    recipe = synthetic_recipe(predictor=predictor, corruptor=named("corruptor", "mask_token"))
    predictors = tuple(dataclasses.replace(config, layer=layer) for config in recipe.predictors)
    built = build(dataclasses.replace(recipe, predictors=predictors))
    data = batch(built)
    result = built.model.predict(data)["main"]
    ((term, prediction),) = result.predictions.items()
    table = data.views["main"].context.targets
    assert built.model.counts(data) == {term: len(table)} and len(table)
    assert prediction.targets is table and prediction.stream is prediction.context is result.encoded.stream
    assert torch.equal(prediction.features, result.encoded.at(layer)[table.at[:, 0]])
    assert prediction.head(prediction.features).shape == (len(table), built.specs["letters"].vocabulary)


def test_counts_are_the_targets_and_the_loss_their_weighted_mean() -> None:
    built = dropped()
    data = batch(built)
    view = data.views["main"]
    assert view.query is not None
    table = view.query.targets
    assert built.model.counts(data) == {"decoder": len(table)}
    plain = built.model(data).terms["decoder"].item()
    doubled = dataclasses.replace(view.query, targets=dataclasses.replace(table, weight=table.weight * 2))
    heavier = dataclasses.replace(data, views={"main": dataclasses.replace(view, query=doubled)})
    assert abs(built.model(heavier).terms["decoder"].item() - 2 * plain) < 1e-5


def test_a_decoder_knows_hidden_places_by_their_position_alone() -> None:
    """Without positions all hidden places of a sample get one prediction; with them they differ."""
    blind, sighted = dropped(position=named("position", "none")), dropped(position=named("position", "sincos"))
    for built, is_equal in ((blind, True), (sighted, False)):
        data = built.pipeline.pack([built.pipeline.sample(Place(0, 5, 5, 0.0))])
        (prediction,) = built.model.predict(data)["main"].predictions.values()
        assert len(prediction.features) > 1
        assert torch.allclose(prediction.features[0], prediction.features[1], atol=1e-6) is is_equal


def test_autoregressive_predictions_do_not_depend_on_what_follows() -> None:
    """Cutting the answer after a slot leaves all predictions up to that slot as they are."""
    predictor = named("predictor", "autoregressive", width=16, depth=2, heads=2, target=IDS)
    corruptor = Component("corruptor", "sentinel_spans", {"num_sentinels": 8})
    built = build(synthetic_recipe(predictor=predictor, corruptor=corruptor, masker=named("masker", "span", ratio=0.5)))
    data = batch(built, 1)
    query = data.views["main"].query
    assert query is not None
    (whole,) = built.model.predict(data)["main"].predictions.values()
    last = query.layout.num_slots - 1
    table = dataclasses.replace(query.targets, **{n: getattr(query.targets, n)[:last] for n in ("at", "of", "literal", "weight")})
    table = dataclasses.replace(table, spans={"letters": (0, last)})
    names = ("source", "literal", "modality", "positions", "has_position", "rank", "block")
    layout = dataclasses.replace(query.layout, lengths=query.layout.lengths - 1)
    reads = query.reads["letters"]
    assert reads.slots is not None
    kept, kept_literal = reads.slots < last, reads.literal_slots < last
    short_reads = dataclasses.replace(
        reads,
        index=reads.index[kept],
        slots=reads.slots[kept],
        literals=reads.literals[kept_literal],
        literal_slots=reads.literal_slots[kept_literal],
    )
    short = dataclasses.replace(
        query, layout=layout, targets=table, reads={"letters": short_reads}, **{n: getattr(query, n)[:last] for n in names}
    )
    cut = dataclasses.replace(data, views={"main": dataclasses.replace(data.views["main"], query=short)})
    (part,) = built.model.predict(cut)["main"].predictions.values()
    assert torch.allclose(part.features, whole.features[:last], atol=1e-5)


def test_labels_of_samples_are_no_answers_for_tokens() -> None:
    predictor = named("predictor", "in_place", target=named("target", "label", field="begins"))
    with pytest.raises(
        UserError, match="target 'label' applies to whole samples, but this predictor predicts tokens; use sequence"
    ):
        build(synthetic_recipe(corruptor=named("corruptor", "mask_token"), predictor=predictor))
