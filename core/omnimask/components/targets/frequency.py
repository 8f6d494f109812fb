"""The spectrum of a token's content as a target. N targets, w numbers in a token, F frequencies."""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor

from omnimask.components.targets.continuous import ContinuousTarget, LossKind, mean_loss
from omnimask.interfaces import Context, Prediction, Run

Representation: TypeAlias = Literal["log_amplitude", "real_imaginary"]


class Frequency(ContinuousTarget):
    """Orthonormal discrete Fourier transform of the scaled content. A loss on spectra favors structure over brightness [0].

    The transform covers all axes of a token except the last if there are three or more (rows and columns of a patch, for each
    channel), else all axes. One half of each conjugate pair is kept.

    Args:
        representation: ``log_amplitude``: ``log(1 + |F|)``, which discards locations within the token; ``real_imaginary``: all real
            parts, then all imaginary parts, from which the content can be recovered.
        loss: ``mse``, ``l1`` or ``smooth_l1``, mean over the numbers of a token.

    [0] Xie et al.: Masked Frequency Modeling for Self-Supervised Visual Pre-Training, 2022 (there of the whole image's spectrum).
    """

    def __init__(
        self,
        context: Context,
        *,
        representation: Annotated[Representation, Field(description="log_amplitude or real_imaginary")] = "log_amplitude",
        loss: LossKind = "mse",
    ) -> None:
        super().__init__(context, "frequency")
        self.representation: Representation = representation
        self.kind: LossKind = loss
        # Axis 0 counts tokens. With three or more axes of content, the last one holds channels.
        self.axes = tuple(range(1, len(self.width) + (len(self.width) < 3)))
        sizes = [self.width[axis - 1] for axis in self.axes]
        # The transform of real numbers is conjugate symmetric: half of the last axis suffices.
        shape = (*sizes[:-1], sizes[-1] // 2 + 1, *self.width[len(sizes) :])
        self.sizes, self.shape = sizes, shape
        self.num_outputs = math.prod(shape) * (2 if representation == "real_imaginary" else 1)

    def spectrum(self, scaled: Tensor) -> Tensor:
        """Transform (n, *width) scaled content to (n, num_outputs)."""
        if not len(scaled):  # transforms refuse empty inputs
            return scaled.new_zeros(0, self.num_outputs)
        spectrum = torch.fft.rfftn(scaled, dim=self.axes, norm="ortho")
        if self.representation == "log_amplitude":
            return spectrum.abs().log1p().flatten(1)
        return torch.stack([spectrum.real, spectrum.imag], dim=1).flatten(1)

    def answers(self, prediction: Prediction, run: Run) -> Tensor:
        return self.spectrum(self.scaled(run, prediction.targets.of))

    def loss(self, prediction: Prediction, answers: Tensor) -> Tensor:
        return mean_loss(self.kind, prediction.head(prediction.features), answers)

    def content(self, prediction: Prediction, run: Run) -> Tensor | None:
        """Return (N, *width) in stored units by the inverse transform, or None for amplitudes alone."""
        if self.representation == "log_amplitude":
            return None
        real, imaginary = prediction.head(prediction.features).float().unflatten(1, (2, *self.shape)).unbind(1)
        return self.scale.inverse(torch.fft.irfftn(torch.complex(real, imaginary), s=self.sizes, dim=self.axes, norm="ortho"))
