"""Hidden tokens keep their content and lose their places: in the stream, in its order, and in what a network computes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from omnimask.builder.build import Built, build
from omnimask.component import Component, named
from omnimask.components.corruptors.withhold_position import WithholdPosition
from omnimask.data.planner import Place
from omnimask.errors import UserError
from omnimask.interfaces import Context, Draw, Masking, Sample, TokenSpec
from omnimask.recipe import Recipe
from omnimask.testing import make_sample
from omnimask.testing.model import predictions
from omnimask.testing.synthetic import synthetic_recipe
from omnimask.testing.visibility import sees

from .views import masking_of, sample_of


def test_hidden_tokens_lose_their_position_and_follow_the_placed_ones() -> None:
    view = WithholdPosition(Context())(sample_of([5, 6, 7, 8, 9, 4]), masking_of(6, [1, 4, 5]))
    stream = view.context
    assert view.query is None
    assert stream.source[:3].tolist() == [0, 2, 3]
    assert sorted(stream.source[3:].tolist()) == [1, 4, 5]
    assert stream.has_position.tolist() == [True] * 3 + [False] * 3
    assert (stream.literal == -1).all()  # all show their content
    assert stream.targets.at[:, 0].tolist() == [3, 4, 5]
    assert stream.targets.of.tolist() == stream.source[3:].tolist()
    assert stream.layout.attention == "full"


def test_what_is_asked_has_no_position_even_if_a_masker_shows_it() -> None:
    masking = {"m": Masking(np.ones(4, bool), np.array([False, True, False, False]))}
    stream = WithholdPosition(Context())(sample_of([1, 2, 3, 4]), masking).context
    assert stream.source.tolist() == [0, 2, 3, 1]
    assert stream.has_position.tolist() == [True, True, True, False]


def test_slots_do_not_tell_places() -> None:
    """Over many samples every hidden token is equally often at every slot, and a repeated call gives the same order."""
    corruptor, masking, draws = WithholdPosition(Context()), masking_of(4, [0, 1, 2, 3]), 4000
    count = np.zeros((4, 4))
    for number in range(draws):
        source = corruptor(sample_of([1, 2, 3, 4], str(number)), masking).context.source
        count[np.arange(4), source] += 1
    assert np.abs(count / draws - 1 / 4).max() < 5 * np.sqrt(3 / 16 / draws)


@pytest.mark.parametrize(("seen", "number"), [(0.25, 2), (0.5, 4), (0.01, 1)])
def test_a_share_of_the_tokens_is_seen_by_all(seen: float, number: int) -> None:
    stream = WithholdPosition(Context(), seen=seen)(sample_of(range(8)), masking_of(8, range(8))).context
    visible = sees(stream)
    is_context = visible.all(axis=0)
    assert is_context.sum() == number
    assert np.array_equal(visible, is_context[None, :] | np.eye(8, dtype=bool))
    assert stream.layout.attention == "ranked"


def test_the_share_is_drawn_for_every_sample_and_modality() -> None:
    specs = {"first": TokenSpec(vocabulary=5), "second": TokenSpec(width=(2,))}
    found = set()
    for key in range(20):
        sample = make_sample(specs, {"first": 4, "second": 8}, Draw(0, 0, str(key)))
        masking = {name: Masking(np.zeros(len(t), bool), np.ones(len(t), bool)) for name, t in sample.tokens.items()}
        stream = WithholdPosition(Context(), seen=0.5)(sample, masking).context
        context = stream.source[sees(stream).all(axis=0)]
        assert (context < 4).sum() == 2 and (context >= 4).sum() == 4
        found.add(tuple(sorted(context.tolist())))
    assert len(found) > 10


def test_placed_tokens_may_be_all_that_is_seen() -> None:
    stream = WithholdPosition(Context(), seen="placed")(sample_of(range(5)), masking_of(5, [0, 3])).context
    assert np.array_equal(sees(stream), stream.has_position[None, :] | np.eye(5, dtype=bool))


def test_a_share_of_one_is_everything() -> None:
    sample, masking = sample_of(range(5)), masking_of(5, [0, 3])
    stream = WithholdPosition(Context(), seen=1)(sample, masking).context
    assert sees(stream).all()


# ---- no network learns the place of a token without a position

ENCODERS: Mapping[str, Component[Any]] = {
    "transformer, sincos": named("encoder", "transformer", width=32, depth=2, heads=2, position=named("position", "sincos")),
    "transformer, learned": named("encoder", "transformer", width=32, depth=2, heads=2, position=named("position", "learned")),
    "transformer, none": named("encoder", "transformer", width=32, depth=2, heads=2, position=named("position", "none")),
    "transformer, alibi": named("encoder", "transformer", width=32, depth=2, heads=2, position=named("position", "alibi")),
    "bert, learned": named("encoder", "bert", width=32, depth=2, heads=2, mlp_width=64),
    "modernbert without rotation": named(
        "encoder",
        "modernbert",
        width=32,
        depth=4,
        heads=2,
        mlp_width=48,
        window=4,
        position=named("position", "sincos"),
        local_position=named("position", "none"),
    ),
    "timm": named("encoder", "timm", options={"embed_dim": 32, "depth": 2, "num_heads": 2}),
}


def recipe_of(encoder: Component[Any], masker: Component[Any] | None = None) -> Recipe:
    target = named("target", "position", max_length=32)
    corruptor = named("corruptor", "withhold_position")
    return synthetic_recipe(encoder=encoder, corruptor=corruptor, masker=masker, target=target)


def moved(sample: Sample) -> Sample:
    """The same sample with other places for all of its tokens, in the same order of slots."""
    tokens = {
        name: dataclasses.replace(part, positions=np.roll(np.asarray(part.positions), 1, axis=0))
        for name, part in sample.tokens.items()
    }
    return dataclasses.replace(sample, tokens=tokens)


def samples_of(built: Built) -> list[Sample]:
    return built.pipeline.samples([Place(0, number, index, 0.0) for number, index in enumerate(range(6))])[0]


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS.keys())
def test_predictions_do_not_depend_on_withheld_positions(encoder: Component[Any]) -> None:
    built = build(recipe_of(encoder, named("masker", "random", ratio=1.0)))
    model, samples = built.model.eval(), samples_of(built)
    before = predictions(model, built.pipeline.pack(samples))
    after = predictions(model, built.pipeline.pack([moved(sample) for sample in samples]))
    for term, values in before.items():
        assert torch.equal(values, after[term])


@pytest.mark.parametrize("encoder", [ENCODERS["transformer, sincos"], ENCODERS["bert, learned"]])
def test_placed_tokens_keep_their_positions(encoder: Component[Any]) -> None:
    """The control: with some positions left, moving them all changes what is predicted."""
    built = build(recipe_of(encoder, named("masker", "random", ratio=0.5)))
    model, samples = built.model.eval(), samples_of(built)
    before = predictions(model, built.pipeline.pack(samples))
    after = predictions(model, built.pipeline.pack([moved(sample) for sample in samples]))
    assert not any(torch.equal(values, after[term]) for term, values in before.items())


@pytest.mark.parametrize(
    ("encoder", "needing"),
    [
        (named("encoder", "transformer", width=32, depth=1, heads=2, position=named("position", "rotary")), "rotary"),
        (named("encoder", "modernbert", width=32, depth=2, heads=2, mlp_width=48), "rotary"),
        (
            named(
                "encoder",
                "transformers",
                model_type="bert",
                options={"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
            ),
            "transformersencoder",
        ),
    ],
)
def test_encoders_to_which_no_position_is_position_0_are_refused(encoder: Component[Any], needing: str) -> None:
    with pytest.raises(UserError, match=f"withhold_position.*withholds positions, but {needing} .*sincos, learned or none"):
        build(recipe_of(encoder))


@pytest.mark.parametrize("combined", ["scheduled", "by_kind"])
def test_they_are_refused_inside_other_corruptors(combined: str) -> None:
    inner = [named("corruptor", "keep"), named("corruptor", "withhold_position")]
    options: dict[str, Any] = {"corruptors": inner, **({"until": [0.5]} if combined == "scheduled" else {})}
    encoder = named("encoder", "transformer", width=32, depth=1, heads=2, position=named("position", "rotary"))
    target = named("target", "position", max_length=32)
    with pytest.raises(UserError, match="withholds positions"):
        build(synthetic_recipe(encoder=encoder, corruptor=named("corruptor", combined, **options), target=target))
