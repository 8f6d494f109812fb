"""Targets computed from whole images. P store tokens, B images, H x W pixels, C channels, N targets."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from omnimask.interfaces import Context, Module, Prediction, Run

_EPSILON = 1e-5
"""Added to the norm of a cell's histogram, in the pixels' stored units, as in scikit-image."""


class Hog(Module):
    """Histograms of oriented gradients [0] of the patch's cells, by mean squared error in float32 (MaskFeat [1]).

    Every pixel votes, with the magnitude of its gradient (central differences; none at the image's border), for one of ``bins``
    equal ranges of the gradient's unsigned direction. Votes are averaged over a cell, and the histogram of each cell and channel is
    normalized to length 1. Gradients are those of the whole image, so a patch's answer depends on one pixel around it. Answers are
    computed on the device, from all patches of the sample, in the order in which the tokenizer ``image.patch`` cuts them.

    A patch has (rows of cells) x (columns of cells) x channels x bins numbers. The function is scikit-image's ``hog`` of each
    channel with one cell per block and ``block_norm="L2"``; MaskFeat's reference also weights votes by a Gaussian window.

    Args:
        cell: side of a cell in pixels; it divides the patch.
        bins: number of directions.

    [0] Dalal, Triggs: Histograms of Oriented Gradients for Human Detection, 2005.
    [1] Wei et al.: Masked Feature Prediction for Self-Supervised Visual Pre-Training, 2021.
    """

    def __init__(self, context: Context, *, cell: Annotated[int, Field(gt=0)] = 8, bins: Annotated[int, Field(gt=1)] = 9) -> None:
        super().__init__()
        (self.name,) = context.modalities
        spec = context.specs[self.name]
        if spec.width is None or len(spec.width) != 3 or len(spec.extent) != 2 or None in spec.extent:
            raise ValueError(f"target image.hog needs patches of images of one size; {self.name!r} has other tokens")
        self.patch, self.channels, self.grid = spec.width[:2], spec.width[2], spec.extent
        if any(side % cell for side in self.patch):
            raise ValueError(
                f"cells of {cell} pixels must divide patches of {self.patch[0]} x {self.patch[1]}; "
                f"choose for example cell: {math.gcd(*self.patch)}"
            )
        self.cell, self.bins = cell, bins
        self.num_outputs = math.prod(side // cell for side in self.patch) * self.channels * bins

    def answers(self, prediction: Prediction, run: Run) -> Tensor:
        """Return (N, num_outputs): cells row by row, for each its channels, for each its bins."""
        packed = run.batch.store[self.name]
        (height, width), lengths = self.grid, packed.layout.lengths
        assert height is not None and width is not None
        if np.any((lengths != height * width) & (lengths != 0)):
            raise ValueError(f"target image.hog needs all {height * width} patches of an image; a sample has another number")
        features = self.features(rearrange(packed.data, "(b h w) p q c -> b (h p) (w q) c", h=height, w=width))
        (p, q), cell = self.patch, self.cell
        of_patch = rearrange(features, "b (h r) (w s) c o -> (b h w) (r s c o)", r=p // cell, s=q // cell)
        return of_patch[prediction.targets.of - run.batch.base[self.name]]

    def features(self, images: Tensor) -> Tensor:
        """Map (B, H, W, C) in stored units to (B, H / cell, W / cell, C, bins), histograms of length 1 (0 in a flat cell)."""
        pixels, cell = images.float(), self.cell
        down = functional.pad(pixels[:, 2:] - pixels[:, :-2], (0, 0, 0, 0, 1, 1))
        right = functional.pad(pixels[:, :, 2:] - pixels[:, :, :-2], (0, 0, 1, 1))
        length = torch.hypot(down, right)
        turns = torch.atan2(down, right) / math.pi % 1
        direction = (turns * self.bins).long().clamp(max=self.bins - 1)
        votes = torch.zeros(*length.shape, self.bins, device=length.device).scatter_(4, direction[..., None], length[..., None])
        means = rearrange(votes, "b (h r) (w s) c o -> b h w c o (r s)", r=cell, s=cell).mean(5)
        return means / (means.square().sum(4, keepdim=True) + _EPSILON**2).sqrt()

    def loss(self, prediction: Prediction, answers: Tensor) -> Tensor:
        return (prediction.head(prediction.features).float() - answers).square().mean(1)

    def content(self, prediction: Prediction, run: Run) -> Tensor | None:
        """Return None: histograms cannot be rendered."""
        return None
