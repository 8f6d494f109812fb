"""Targets of continuous content: losses of patches, spectra by hand."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from omnimask.component import Component, named
from omnimask.components.targets.frequency import Frequency
from omnimask.components.targets.patch import Patch
from omnimask.interfaces import Context, Layout, MaskedBatch, Packed, Prediction, Run, Targets, TokenSpec
from omnimask.testing import PredictorContract


def run_of(content: torch.Tensor) -> Run:
    layout = Layout(np.array([len(content)]), np.arange(1))
    return Run(MaskedBatch({"x": Packed(content, layout)}, {"x": 0}, {}, torch.zeros(1), ("a",)), {})


def prediction_of(values: torch.Tensor, stream: Any = None) -> Prediction:
    count = len(values)
    index = torch.arange(count)
    table = Targets(index[:, None], index, torch.full((count,), -1), torch.ones(count))
    return Prediction(values, lambda features: features, table, stream, stream, "x")


def context(*width: int, mean: float = 0.0, std: float = 1.0) -> Context:
    return Context(specs={"x": TokenSpec(width=width, mean=(mean,), std=(std,))}, modalities=("x",))


@pytest.mark.parametrize(("kind", "expected"), [("mse", (0.25 + 9) / 2), ("l1", (0.5 + 3) / 2), ("smooth_l1", (0.125 + 2.5) / 2)])
def test_losses_of_patches(kind: Any, expected: float) -> None:
    target = Patch(context(2), loss=kind)
    loss = target.loss(prediction_of(torch.tensor([[0.5, -3.0]])), torch.zeros(1, 2))
    assert loss.tolist() == pytest.approx([expected])


def test_a_cosine_has_one_frequency() -> None:
    """A 4 x 4 patch that is cos(2 pi x / 4) along its columns: ortho amplitude 4 * 4 / 2 / 4 = 2 at (0, 1), nothing elsewhere."""
    wave = torch.cos(2 * math.pi * torch.arange(4.0) / 4).expand(4, 4)
    target = Frequency(context(4, 4), representation="real_imaginary")
    assert target.num_outputs == 2 * 4 * 3
    real, imaginary = target.spectrum(wave[None]).unflatten(1, (2, 4, 3)).unbind(1)
    expected = torch.zeros(1, 4, 3)
    expected[0, 0, 1] = 2.0
    torch.testing.assert_close(real, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(imaginary, torch.zeros_like(imaginary), atol=1e-6, rtol=0)
    amplitude = Frequency(context(4, 4)).spectrum(wave[None])
    torch.testing.assert_close(amplitude, expected.log1p().flatten(1), atol=1e-6, rtol=0)


def test_amplitudes_forget_where_something_is_and_channels_stay_apart() -> None:
    patch = torch.rand(1, 8, 6, 3, generator=torch.Generator().manual_seed(0))
    target = Frequency(context(8, 6, 3))
    assert target.num_outputs == 8 * 4 * 3
    torch.testing.assert_close(target.spectrum(patch), target.spectrum(patch.roll((3, 2), dims=(1, 2))), atol=1e-5, rtol=1e-5)
    one = target.spectrum(patch).unflatten(1, (8, 4, 3))[..., 1]
    torch.testing.assert_close(one, Frequency(context(8, 6)).spectrum(patch[..., 1]).unflatten(1, (8, 4)))


@pytest.mark.parametrize("width", [(5,), (4, 7), (3, 5, 2), (2, 4, 3, 1)])
def test_real_and_imaginary_parts_give_the_content_back(width: tuple[int, ...]) -> None:
    content = torch.rand(3, *width, generator=torch.Generator().manual_seed(0)) * 255
    target = Frequency(context(*width, mean=100.0, std=50.0), representation="real_imaginary")
    run = run_of(content)
    prediction = prediction_of(target.answers(prediction_of(content), run))
    again = target.content(prediction, run)
    assert again is not None
    torch.testing.assert_close(again, content, atol=1e-3, rtol=1e-5)
    assert Frequency(context(*width)).content(prediction_of(torch.zeros(3, 1)), run) is None
    assert target.loss(prediction, target.answers(prediction, run)).abs().max() == 0


def test_ids_have_no_spectrum() -> None:
    with pytest.raises(ValueError, match="target frequency needs continuous tokens, but those of 'x' are ids; use ids"):
        Frequency(dataclasses.replace(context(1), specs={"x": TokenSpec(vocabulary=3)}))


class TestFrequency(PredictorContract):
    modality = "vectors"

    def predictor(self) -> Component[Any]:
        return Component("predictor", "in_place", {"target": named("target", "frequency", loss="smooth_l1")})


class TestRealImaginary(PredictorContract):
    modality = "vectors"
    unused_parameters = ()

    def predictor(self) -> Component[Any]:
        return Component("predictor", "in_place", {"target": named("target", "frequency", representation="real_imaginary")})
