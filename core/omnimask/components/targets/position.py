"""A token's place as a target. N targets, A position axes, V places."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from omnimask.components.positions.grid import bounded_sizes, grid_place, grid_positions
from omnimask.components.targets.cross_entropy import head_cross_entropy
from omnimask.components.targets.scores import LARGEST, score_ids
from omnimask.interfaces import Context, Module, Prediction, Run

_MOST = 1 << 16
"""Largest number of places; more are a head without need."""


class PositionTarget(Module):
    """The place of a token on its modality's grid of positions, by cross-entropy in float32 (MP3 [0]).

    Every place of the grid is a class, the last axis fastest: 14 * 14 for patches, one for each position of a sequence. Positions
    are rounded down. The scores are ``accuracy``, ``top5`` and ``cross_entropy``. Use it with the corruptor ``withhold_position``:
    with any other, the position is part of the input.

    Args:
        max_length: size of axes without an extent in the tokenizer's spec. A position beyond it is an error.
        smoothing: width s of smoothed answers, in units of positions: the probability of a place at distance d from the answer is
            in proportion to exp(-(d / s)^2), the position smoothing of DropPos [1] (without its decay). 0: the place alone.

    [0] Zhai et al.: Position Prediction as an Effective Pretraining Strategy, 2022.
    [1] Wang et al.: DropPos: Pre-Training Vision Transformers by Reconstructing Dropped Positions, 2023.
    """

    grid: Tensor

    def __init__(
        self,
        context: Context,
        *,
        max_length: Annotated[int, Field(gt=0, description="length of unbounded axes")] = 512,
        smoothing: Annotated[float, Field(ge=0)] = 0.0,
    ) -> None:
        super().__init__()
        (self.name,) = context.modalities
        self.sizes = bounded_sizes(context.specs[self.name], max_length)
        self.num_outputs, self.smoothing = math.prod(self.sizes), smoothing
        if self.num_outputs > _MOST:
            raise ValueError(
                f"target position: {self.name!r} has {' * '.join(map(str, self.sizes))} = {self.num_outputs} places, but at most "
                f"{_MOST} are supported; set max_length to the longest side in tokens"
            )
        # (V, A) coordinates of all places.
        self.register_buffer("grid", grid_positions(self.sizes), persistent=False)

    def answers(self, prediction: Prediction, run: Run) -> Tensor:
        """Return (N,) places.

        Raises:
            ValueError: a position lies outside the grid. Checked on CPU only, because other devices would synchronize; there, the
                loss fails.
        """
        held = prediction.stream.positions[prediction.targets.at[:, 0], : len(self.sizes)]
        if held.device.type == "cpu" and bool(((held < 0) | (held >= torch.tensor(self.sizes))).any()):
            low, high = held.amin(0).tolist(), held.amax(0).tolist()
            raise ValueError(
                f"target position: positions of {self.name!r} lie in {low} to {high}, but must be at least 0 and less than "
                f"{list(self.sizes)}; raise max_length"
            )
        return grid_place(held, self.sizes)

    def loss(self, prediction: Prediction, answers: Tensor) -> Tensor:
        if not self.smoothing:
            return head_cross_entropy(prediction.features, prediction.head, answers)
        rows = max(1, LARGEST // self.num_outputs)

        def of(features: Tensor, right: Tensor) -> Tensor:
            log_probability = functional.log_softmax(prediction.head(features).float(), dim=1)
            return -(self.smoothed(right) * log_probability).sum(1)

        parts = zip(prediction.features.split(rows), answers.split(rows), strict=True)
        return torch.cat([checkpoint(of, *part, use_reentrant=False) for part in parts])  # pyright: ignore[reportArgumentType]

    def smoothed(self, answers: Tensor) -> Tensor:
        """Return the probabilities (N, V) of the smoothed answers (N,)."""
        # |a - b|^2 of whole numbers below 2^12 is exact in float32.
        square = self.grid.square().sum(1)
        distance = square[answers][:, None] + square[None] - 2 * self.grid[answers] @ self.grid.t()
        return functional.softmax(-distance.float() / self.smoothing**2, dim=1)

    def content(self, prediction: Prediction, run: Run) -> None:
        """Return None: a place has no content to render."""

    def scores(self, prediction: Prediction, answers: Tensor) -> dict[str, Tensor]:
        return score_ids(prediction, answers, self.num_outputs)
