"""Shapes of what components on the device return are compared, and the message names the component."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from omnimask.builder.build import Built, build
from omnimask.component import Component, named
from omnimask.components.encoders.transformer import TransformerEncoder
from omnimask.components.targets.patch import Patch
from omnimask.errors import BrokenContract
from omnimask.interfaces import Context, MaskedBatch, Placement, Stream
from omnimask.testing import synthetic_recipe


class Position(nn.Module):
    gives: Any = staticmethod(lambda slots, width: Placement(added=torch.zeros(slots, width)))

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.width = context.width

    def forward(self, stream: Stream) -> Any:
        return self.gives(stream.layout.num_slots, self.width)


class Embedding(nn.Module):
    is_local = True

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.table = nn.Embedding(20, context.width)

    def forward(self, content: Tensor) -> Tensor:
        return self.table(content)[:, :1]

    def ids(self, literal: Tensor) -> Tensor:
        return self.table(literal)


class Encoder(TransformerEncoder):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        found = super().forward(*args, **kwargs)
        data = found.features.data[:-1]
        return dataclasses.replace(found, features=dataclasses.replace(found.features, data=data))


class Wide(Patch):
    """A loss with one more axis, which a product with the weights would broadcast."""

    def loss(self, prediction: Any, answers: Tensor) -> Tensor:
        return super().loss(prediction, answers)[:, None]


def run(built: Built) -> Any:
    batch: MaskedBatch = built.pipeline.pack([built.pipeline.sample(_place(index)) for index in range(4)])
    return built.model(batch)


def _place(index: int) -> Any:
    from omnimask.data.planner import Place

    return Place(0, index, index, 0.0)


@pytest.mark.parametrize(
    ("gives", "words"),
    [
        (lambda slots, width: Placement(added=torch.zeros(slots, 1)), r"added has shape \(\d+, 1\); expected \(\d+, 32\)"),
        (lambda slots, width: Placement(added=torch.zeros(1, width)), r"added has shape \(1, 32\); expected"),
        (
            lambda slots, width: Placement(rotation=(torch.ones(1, 16), torch.ones(1, 16))),
            r"cos of its rotation has shape \(1, 16\)",
        ),
        (lambda slots, width: None, "it must return a Placement, not None"),
    ],
)
def test_placements(gives: Callable[[int, int], Any], words: str) -> None:
    position = Component("position", "odd", cls=type("Odd", (Position,), {"gives": staticmethod(gives)}))
    built = build(synthetic_recipe(position=position))
    with pytest.raises(BrokenContract, match=r"^position 'odd' \(\S*test_device_border\.Odd\): " + words):
        run(built)


def test_embeddings() -> None:
    built = build(synthetic_recipe(embedding=Component("embedding", "narrow", cls=Embedding)))
    with pytest.raises(BrokenContract, match=r"embedding 'narrow' .*it returned shape \(\d+, 1\); expected"):
        run(built)


def test_encoders() -> None:
    options = {"width": 16, "depth": 1, "heads": 2, "position": named("position", "sincos")}
    built = build(synthetic_recipe(encoder=Component("encoder", "short", options, cls=Encoder)))
    with pytest.raises(BrokenContract, match=r"encoder 'short' .*features have shape \(\d+, 16\); expected"):
        run(built)


def test_losses() -> None:
    built = build(synthetic_recipe(target=Component("target", "wide", cls=Wide), modality="vectors"))
    with pytest.raises(BrokenContract, match=r"its loss has shape \(\d+, 1\); expected \(\d+,\), one for each target"):
        run(built)


def test_models_that_are_watched_can_be_copied_and_pickled() -> None:
    built = build(synthetic_recipe())
    expected = run(built).loss
    for other in (copy.deepcopy(built.model), pickle.loads(pickle.dumps(built.model))):  # noqa: S301
        assert torch.equal(run(dataclasses.replace(built, model=other)).loss, expected)
