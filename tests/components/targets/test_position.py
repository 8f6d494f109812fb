"""Places as classes: their numbers, their smoothing by distance, and what lies outside the grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from omnimask.components.targets.position import PositionTarget
from omnimask.data.collation import collate
from omnimask.interfaces import Context, Draw, MaskedBatch, Prediction, Run, Sample, Tokens, TokenSpec, View
from omnimask.streams import sequence, targets

GRID = TokenSpec(width=(1,), axes=2, extent=(3, 4))


def target_of(spec: TokenSpec, **options) -> PositionTarget:
    return PositionTarget(Context(specs={"m": spec}, modalities=("m",)), **options)


def asked(spec: TokenSpec, positions: list[list[float]], features: torch.Tensor, head: nn.Module) -> tuple[Prediction, Run]:
    """A prediction for tokens at these positions, all of them asked, and the batch."""
    tokens = Tokens(np.zeros((len(positions), 1), np.float32), np.array(positions, np.float32))
    sample = Sample({"m": tokens}, Draw(0, 0, "a"), ("m",))
    every = np.arange(len(positions))
    stream = sequence(sample, every, has_position=np.zeros(len(every), bool), targets=targets(every, every))
    batch: MaskedBatch = collate([sample], [{"main": View(stream)}], {"m": spec})
    context = batch.views["main"].context
    return Prediction(features, head, context.targets, context, context, "m"), Run(batch, {})


def test_the_last_axis_is_the_fastest() -> None:
    target = target_of(GRID)
    assert target.num_outputs == 12
    prediction, run = asked(GRID, [[0, 0], [0, 3], [2, 1]], torch.zeros(3, 12), nn.Identity())
    assert target.answers(prediction, run).tolist() == [0, 3, 9]


def test_an_unbounded_axis_has_max_length_places() -> None:
    spec = TokenSpec(width=(1,))
    target = target_of(spec, max_length=5)
    assert target.num_outputs == 5
    assert target_of(spec).num_outputs == 512
    assert target_of(TokenSpec(width=(1,), axes=2, extent=(None, 4)), max_length=3).num_outputs == 12
    prediction, run = asked(spec, [[0], [4.9]], torch.zeros(2, 5), nn.Identity())
    assert target.answers(prediction, run).tolist() == [0, 4]


@pytest.mark.parametrize("place", [5.0, -1.0])
def test_a_position_outside_the_grid_is_an_error(place: float) -> None:
    spec = TokenSpec(width=(1,))
    prediction, run = asked(spec, [[0], [place]], torch.zeros(2, 5), nn.Identity())
    with pytest.raises(ValueError, match=r"positions of 'm' lie in .* less than \[5\]; raise max_length"):
        target_of(spec, max_length=5).answers(prediction, run)


def test_too_many_places_are_refused() -> None:
    with pytest.raises(ValueError, match=r"512 \* 512 = 262144 places.*set max_length"):
        target_of(TokenSpec(width=(1,), axes=2, extent=(None, None)))


def test_loss_and_scores_are_those_of_a_classification() -> None:
    target, logits = target_of(GRID), torch.randn(4, 12, generator=torch.Generator().manual_seed(0))
    prediction, run = asked(GRID, [[0, 0], [1, 2], [2, 3], [0, 1]], logits, nn.Identity())
    answers = target.answers(prediction, run)
    expected = nn.functional.cross_entropy(logits, torch.tensor([0, 6, 11, 1]), reduction="none")
    torch.testing.assert_close(target.loss(prediction, answers), expected)
    assert target.scores(prediction, answers)["accuracy"].tolist() == (logits.argmax(1) == answers).float().tolist()


def test_smoothing_by_hand() -> None:
    """exp(-(d / s)^2) over all places, normalized; the loss is the cross-entropy with it."""
    target, s = target_of(GRID, smoothing=0.8), 0.8
    logits = torch.randn(2, 12, generator=torch.Generator().manual_seed(0))
    prediction, run = asked(GRID, [[1, 2], [0, 0]], logits, nn.Identity())
    answers = target.answers(prediction, run)
    for row, (y, x) in enumerate([(1, 2), (0, 0)]):
        weight = torch.tensor([math.exp(-((v - y) ** 2 + (u - x) ** 2) / s**2) for v in range(3) for u in range(4)])
        wanted = weight / weight.sum()
        torch.testing.assert_close(target.smoothed(answers)[row], wanted, rtol=1e-5, atol=1e-7)
        loss = -(wanted * logits[row].log_softmax(0)).sum()
        torch.testing.assert_close(target.loss(prediction, answers)[row], loss, rtol=1e-5, atol=1e-6)


def test_a_narrow_smoothing_is_none() -> None:
    logits = torch.randn(2, 12, generator=torch.Generator().manual_seed(0))
    prediction, run = asked(GRID, [[1, 2], [0, 0]], logits, nn.Identity())
    plain, narrow = target_of(GRID), target_of(GRID, smoothing=0.05)
    answers = plain.answers(prediction, run)
    torch.testing.assert_close(narrow.loss(prediction, answers), plain.loss(prediction, answers))
