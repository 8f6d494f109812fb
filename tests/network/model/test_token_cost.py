"""Memory that a token costs: slots of all networks with gradients, by the widths of their matrices."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from omnimask.builder.build import Built, build
from omnimask.component import named
from omnimask.data.planner import Place
from omnimask.interfaces import Layout, MaskedBatch
from omnimask.network.model import MaskedModel
from omnimask.network.network import Network
from omnimask.network.passes import Pass
from omnimask.network.token_cost import kept_per_slot, slots_per_token, views_with_gradients
from omnimask.recipe import Recipe
from omnimask.recipe.config import PassConfig, ViewConfig
from omnimask.report.inspection import activation_bytes
from omnimask.testing.synthetic import AGAIN, synthetic_recipe

IDS = named("target", "ids")


def bottleneck(depth: int = 1, **options: Any) -> Recipe:
    """Two views: the encoder reads one, a weak decoder the other."""
    options = {"heads": 2, "position": named("position", "sincos"), **options}
    return synthetic_recipe(predictor=named("predictor", "bottleneck", depth=depth, **options), query=AGAIN)


def batch(built: Built, count: int = 16) -> MaskedBatch:
    return built.pipeline.pack([built.pipeline.sample(Place(0, i, i, 0.0)) for i in range(count)])


def share(built: Built) -> float:
    """A slot of the only predictor, relative to one of the encoder."""
    part = built.model.each()[0]
    (predictor,) = part.predictors.values()
    return kept_per_slot(predictor) / kept_per_slot(part.encoder)


def longer(data: MaskedBatch, view: str, times: int) -> MaskedBatch:
    """A batch whose view has ``times`` as many sequences for each sample."""
    stream = data.views[view].context
    layout = Layout(stream.layout.lengths.repeat(times), stream.layout.parent.repeat(times))
    changed = dataclasses.replace(data.views[view], context=dataclasses.replace(stream, layout=layout))
    return dataclasses.replace(data, views={**data.views, view: changed})


def test_a_network_keeps_inputs_and_outputs_of_its_matrices() -> None:
    assert kept_per_slot(nn.Linear(3, 5)) == 8
    assert kept_per_slot(nn.LayerNorm(3)) == kept_per_slot(nn.Embedding(100, 3)) == 0
    assert kept_per_slot(nn.MultiheadAttention(4, 2)) == (12 + 4) + (4 + 4)
    assert kept_per_slot(nn.Conv1d(3, 5, kernel_size=2)) == 5 + 6
    with_heads = nn.ModuleDict({"dense": nn.Linear(2, 2), "heads": nn.ModuleDict({"text": nn.Linear(2, 1000)})})
    assert kept_per_slot(with_heads) == 4


def test_a_view_alone_costs_the_slots_of_its_context() -> None:
    built = build(synthetic_recipe())
    assert views_with_gradients(built.model) == ("main",)
    assert slots_per_token(built.model, batch(built)) == pytest.approx(1.0)


def test_dropped_tokens_cost_nothing_and_a_decoder_its_query() -> None:
    decoder = named("predictor", "decoder", width=16, depth=1, heads=2, target=IDS)
    built = build(
        synthetic_recipe(corruptor=named("corruptor", "drop"), masker=named("masker", "random", ratio=0.75), predictor=decoder)
    )
    data = batch(built)
    view = data.views["main"]
    assert view.query is not None
    shown, hidden = (stream.layout.num_slots / data.num_tokens for stream in (view.context, view.query))
    assert shown + hidden == pytest.approx(1) and shown == pytest.approx(0.25, abs=0.06)
    assert slots_per_token(built.model, data) == pytest.approx(shown + share(built) * hidden)


def test_another_view_costs_its_slots_by_the_size_of_its_decoder() -> None:
    for depth in (1, 2):
        built = build(bottleneck(depth))
        assert views_with_gradients(built.model) == ("main", AGAIN)
        assert slots_per_token(built.model, batch(built)) == pytest.approx(1 + share(built))
    assert share(built) == pytest.approx(1, abs=0.1)  # as many blocks of the encoder's width, and an output layer


def test_sequences_of_a_sample_count_each() -> None:
    built = build(bottleneck())
    main = built.model.each()[0]
    model = MaskedModel(
        {"main": main.network}, [Pass(name, view, main.network, {}) for name, view in (("other", AGAIN), ("main", "main"))]
    )
    assert views_with_gradients(model) == (AGAIN, "main")
    data = batch(built)
    assert slots_per_token(model, data) == pytest.approx(2)
    assert slots_per_token(model, longer(data, AGAIN, 3)) == pytest.approx(4)


def test_a_predictor_at_several_sizes_counts_for_each() -> None:
    inner = bottleneck(project=True).predictors[0].component
    found = build(synthetic_recipe(predictor=named("predictor", "matryoshka", sizes=((1, 16), (2, 32)), inner=inner), query=AGAIN))
    assert slots_per_token(found.model, batch(found)) == pytest.approx(1 + 2 * share(found))


def test_only_asked_slots_of_a_head_count() -> None:
    built = build(synthetic_recipe(predictor=named("predictor", "mlm")))
    data = batch(built)
    asked = len(data.views["main"].context.targets) / data.num_tokens
    assert slots_per_token(built.model, data) == pytest.approx(1 + share(built) * asked)


def test_a_pass_without_gradients_costs_nothing() -> None:
    shown = ViewConfig("shown", None, {}, named("corruptor", "keep"), None)
    target = named("target", "smoothed", share=0.5, probe="probe")
    recipe = dataclasses.replace(
        synthetic_recipe(target=target), views={"shown": shown}, passes=(PassConfig("probe", "shown", predictors=("in_place",)),)
    )
    built = build(recipe)
    assert len(built.model.each()) == 2
    assert views_with_gradients(built.model) == ("main",)
    assert slots_per_token(built.model, batch(built)) == pytest.approx(1.0)


def test_a_view_of_other_sequences_is_no_query() -> None:
    built = build(bottleneck())
    once = batch(built)
    for main, again in ((2, 1), (2, 3)):
        changed = longer(longer(once, AGAIN, again), "main", main)
        with pytest.raises(ValueError, match=f"view '{AGAIN}' cannot be a query: .* up to {again} instead of {main} for a sample"):
            slots_per_token(built.model, changed)


@pytest.mark.parametrize("main", [1, 3])
def test_a_sequence_decodes_that_of_its_number_or_the_only_one(main: int) -> None:
    built = build(bottleneck())
    (wired,) = built.model.passes["main"].wired(longer(longer(batch(built), AGAIN, 3), "main", main))
    assert wired.view.query is not None
    parent = wired.view.query.layout.parent.tolist()
    assert parent == (list(range(len(parent))) if main == 3 else [number for number in range(len(parent) // 3) for _ in range(3)])


def test_an_encoder_without_matrices_is_as_large_as_any() -> None:
    encoder = nn.Identity()
    encoder.width = 16  # pyright: ignore[reportAttributeAccessIssue]
    network = Network({}, encoder)
    model = MaskedModel({"main": network}, [Pass(name, name, network, {}) for name in (AGAIN, "main")])
    assert slots_per_token(model, batch(build(bottleneck()))) == pytest.approx(2)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_the_cost_follows_the_memory_of_the_backward_pass(depth: int) -> None:
    """Within a quarter: norms and attention grow with the same slots, tables and losses do not count."""
    torch.manual_seed(0)
    alone, both = build(synthetic_recipe(predictor=named("predictor", "mlm"))), build(bottleneck(depth))
    measured = activation_bytes(both.model, batch(both)) / activation_bytes(alone.model, batch(alone))
    assert slots_per_token(both.model, batch(both)) == pytest.approx(measured, rel=0.25)
