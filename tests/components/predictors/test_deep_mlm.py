"""The decoder of a masked language model: what its blocks see, what is read past them, and what they know of places."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from omnimask.builder.build import Built, build
from omnimask.component import named
from omnimask.components.predictors.deep_mlm import DeepMLM
from omnimask.data.planner import Place
from omnimask.errors import UserError
from omnimask.interfaces import Encoded, MaskedBatch, Packed
from omnimask.testing import synthetic_recipe


def deep(**options: object) -> Built:
    return build(synthetic_recipe(predictor=named("predictor", "deep_mlm", heads=2, mlp_width=48, **options)))


def batch(built: Built, *numbers: int) -> MaskedBatch:
    return built.pipeline.pack([built.pipeline.sample(Place(0, i, i, 0.0)) for i in numbers])


def decoder(built: Built) -> DeepMLM:
    (predictor,) = built.model.each()[0].predictors.values()
    assert isinstance(predictor, DeepMLM)
    return predictor


def encoded(built: Built, data: MaskedBatch) -> Encoded:
    return built.model.each()[0](data, {}).encoded


def moved(given: Encoded, slot: int) -> Encoded:
    """Other features at one slot."""
    features = given.features.data.clone()
    features[slot] += torch.linspace(-1, 1, features.shape[1])
    return dataclasses.replace(given, features=Packed(features, given.features.layout))


def seen_at(built: Built, given: Encoded) -> Tensor:
    found = decoder(built).seen_at(given.stream)
    assert found is not None
    return found


def all_slots(built: Built, given: Encoded) -> Tensor:
    """(T, D) decoded; not a number where nobody asks."""
    decoded, rows = decoder(built).run_blocks(given)
    assert given.stream.asked is not None
    if rows is None:
        return decoded
    out = torch.full((given.stream.layout.num_slots, decoded.shape[1]), torch.nan)
    out[given.stream.asked.slots] = decoded
    return out


@torch.no_grad()
@pytest.mark.parametrize(("unmask", "is_seen"), [((), True), ((0.0,), False), ((0.0, 0.0), False), ((0.0, 1.0), True)])
def test_slots_that_are_asked_for_are_seen_from_the_block_on_that_unmasks_them(unmask: tuple[float, ...], is_seen: bool) -> None:
    """Other features at one asked slot change the others' where some block sees it, and always its own; slots of other samples
    never."""
    built = deep(depth=max(1, len(unmask)), unmask=unmask)
    built.model.eval()
    given = encoded(built, batch(built, 0, 3, 5, 9))
    assert given.stream.asked is not None
    layout = given.stream.layout
    asked = given.stream.asked.slots
    chosen = next(int(s) for s in asked if np.diff(layout.offsets)[np.searchsorted(layout.offsets, int(s), side="right") - 1] > 4)
    before, after = all_slots(built, given)[asked], all_slots(built, moved(given, chosen))[asked]
    changed = (before != after).any(1)
    owner = np.searchsorted(layout.offsets, asked.numpy(), side="right") - 1
    mine = torch.as_tensor(owner == np.searchsorted(layout.offsets, chosen, side="right") - 1)
    assert changed[asked == chosen].all() and not changed[~mine].any()
    assert int(mine.sum()) > 1
    assert changed[mine & (asked != chosen)].all() if is_seen else not changed[mine & (asked != chosen)].any()


@torch.no_grad()
@pytest.mark.parametrize("share", [0.25, 0.6])
def test_a_share_of_the_asked_slots_is_seen(share: float) -> None:
    """5 standard errors of the mean over steps; outside of training the same ones every time."""
    built = deep(depth=1, unmask=(share,))
    given = encoded(built, batch(built, *range(40)))
    assert given.stream.asked is not None
    slots = given.stream.asked.slots
    built.model.train()
    seen = torch.cat([(seen_at(built, given)[slots] < share).float() for _ in range(20)])
    assert abs(float(seen.mean()) - share) < 5 * (share * (1 - share) / len(seen)) ** 0.5
    built.model.eval()
    first = seen_at(built, given)
    assert torch.equal(first, seen_at(built, given))
    assert abs(float((first[slots] < share).float().mean()) - share) < 0.1
    assert (first[np.setdiff1d(np.arange(len(first)), slots.numpy())] < 0).all()


@torch.no_grad()
def test_gradual_unmasking_packed_equals_one_by_one() -> None:
    built = deep(depth=3, unmask=(0.3, 0.6))
    built.model.eval()
    numbers = (0, 3, 5, 9)

    def predicted(*of: int) -> Tensor:
        ((prediction,),) = [list(r.predictions.values()) for r in built.model.predict(batch(built, *of)).values()]
        return prediction.head(prediction.features)

    together, apart = predicted(*numbers), torch.cat([predicted(number) for number in numbers])
    assert (together - apart).abs().max() < 1e-5 * together.abs().max()


@torch.no_grad()
def test_a_share_of_the_answers_skips_the_decoder() -> None:
    """In training alone; those answers are what the output layer says of the encoder's features."""
    built = deep(depth=2, skip=0.3)
    data = batch(built, *range(40))
    given, view = encoded(built, data), data.views["main"]
    predictor = decoder(built)
    (table,) = predictor.select(view).values()
    plain = predictor.head_input(given.at_slots(table.at[:, 0]), table)
    shares = []
    for is_training in (True, False):
        built.model.train(is_training)
        (prediction,) = predictor.predict(given, view, None).values()  # pyright: ignore[reportArgumentType]
        shares.append(float((prediction.features == plain).all(1).float().mean()))
    assert abs(shares[0] - 0.3) < 5 * (0.3 * 0.7 / len(table)) ** 0.5
    assert shares[1] == 0


@torch.no_grad()
def test_places_are_told_once_more() -> None:
    """Over an encoder without positions, mask tokens of one sample differ only by what the decoder knows of their places."""
    for position, is_equal in (("none", True), ("sincos", False)):
        predictor = named("predictor", "deep_mlm", depth=1, heads=2, position=named("position", position))
        built = build(synthetic_recipe(predictor=predictor, position=named("position", "none")))
        ((prediction,),) = [list(r.predictions.values()) for r in built.model.eval().predict(batch(built, 5)).values()]
        assert len(prediction.features) > 1
        assert torch.allclose(prediction.features[0], prediction.features[1], atol=1e-6) is is_equal


def test_shares_that_do_not_fit() -> None:
    for unmask in ((0.5, 0.2), (0.1, 0.2, 0.3)):
        with pytest.raises(UserError, match="increasing shares for at most 2 blocks"):
            deep(depth=2, unmask=unmask)
