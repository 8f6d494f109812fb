"""A token's own content as a target. N targets, w numbers in a token, P store tokens."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from omnimask.components.targets.continuous import ContinuousTarget, LossKind, mean_loss
from omnimask.interfaces import CONTENT, Context, Prediction, Run, Stream
from omnimask.packed import index_tensor


class Patch(ContinuousTarget):
    """Continuous content (pixels of a patch, bins of a spectrogram), by mean squared or absolute error in float32.

    Args:
        normalize: the answer is the content minus its own mean, over its own standard deviation (unbiased variance, ``eps`` inside
            the root), as in MAE [0]; otherwise the scaled content.
        eps: added to the variance.
        loss: ``mse``, ``l1`` (SimMIM [1]) or ``smooth_l1`` (quadratic below a difference of 1), mean over the numbers of a token.

    [0] He et al.: Masked Autoencoders Are Scalable Vision Learners, 2021; constants as in the reference implementation.
    [1] Xie et al.: SimMIM, 2021.
    """

    def __init__(
        self,
        context: Context,
        *,
        normalize: bool = False,
        eps: Annotated[float, Field(gt=0)] = 1e-6,
        loss: LossKind = "mse",
    ) -> None:
        super().__init__(context, "patch")
        if normalize and self.num_outputs < 2:
            raise ValueError("normalize needs at least two values per token; set normalize: false")
        self.normalize, self.eps = normalize, eps
        self.kind: LossKind = loss
        self.content_note = "mean and contrast of masked patches: estimated from visible ones" if normalize else ""

    def _scaled(self, run: Run, index: Tensor) -> Tensor:
        """Return (n, w) scaled content at store coordinates ``index``."""
        return self.scaled(run, index).flatten(1)

    def answers(self, prediction: Prediction, run: Run) -> Tensor:
        content = self._scaled(run, prediction.targets.of)
        if not self.normalize:
            return content
        mean, deviation = self._statistics(content)
        return (content - mean) / deviation

    def _statistics(self, content: Tensor) -> tuple[Tensor, Tensor]:
        """Return (n, 1) mean and standard deviation of each token."""
        return content.mean(1, keepdim=True), (content.var(1, keepdim=True, unbiased=True) + self.eps).sqrt()

    def loss(self, prediction: Prediction, answers: Tensor) -> Tensor:
        return mean_loss(self.kind, prediction.head(prediction.features), answers)

    def content(self, prediction: Prediction, run: Run) -> Tensor | None:
        """Return (N, *width) content in stored units.

        A normalized prediction lacks brightness and contrast. The hidden token's own statistics would reveal part of the answer, so
        they are estimated from the visible tokens around it, weighted by inverse squared distance.
        """
        values = prediction.head(prediction.features).float()
        if self.normalize:
            values = values * self._nearby(prediction, run, spread=True) + self._nearby(prediction, run, spread=False)
        return self.scale.inverse(values.unflatten(1, self.width))

    def _nearby(self, prediction: Prediction, run: Run, *, spread: bool) -> Tensor:
        """Return (N, 1) mean, or standard deviation, of the visible tokens around each target."""
        seen, seen_sample = self._visible(prediction.context, run)
        mean, deviation = self._statistics(self._scaled(run, prediction.context.source[seen]))
        statistic = deviation if spread else mean
        at = prediction.targets.at[:, 0]
        sample = index_tensor(_samples(prediction.stream, prediction.context), at.device)[at]
        # (N, visible tokens); those of other samples get weight 0 below.
        distance = (prediction.stream.positions[at][:, None] - prediction.context.positions[seen][None]).square().sum(2)
        # 1e-3 bounds the weight of a token at the target's own position.
        weight = torch.where(sample[:, None] == seen_sample[None], 1 / (distance + 1e-3), 0)
        total = weight.sum(1, keepdim=True)
        fallback = 1.0 if spread else 0.0
        return torch.where(total > 0, weight @ statistic / total.clamp(min=1e-12), fallback)

    def _visible(self, context: Stream, run: Run) -> tuple[Tensor, Tensor]:
        """Return the context slots that show content of this modality, and their samples."""
        base = run.batch.base[self.name]
        end = base + run.batch.store[self.name].layout.num_slots
        shows = (context.source >= base) & (context.source < end) & (context.literal == CONTENT)
        seen = shows.nonzero().squeeze(1)
        return seen, index_tensor(_samples(context, context), seen.device)[seen]


def _samples(stream: Stream, context: Stream) -> np.ndarray:
    """Return (T,) context sequence of each slot of a stream."""
    layout = stream.layout
    owner = np.arange(layout.num_sequences) if stream is context else layout.parent
    return np.repeat(owner, layout.lengths)
