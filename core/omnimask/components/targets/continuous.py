"""Shared base of targets with continuous content. N targets, w numbers in a token, P store tokens."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from torch import Tensor
from torch.nn import functional

from omnimask.components.embeddings.content import ContentScale
from omnimask.interfaces import Context, Module, Run

LossKind: TypeAlias = Literal["mse", "l1", "smooth_l1"]
_LOSSES = {"mse": functional.mse_loss, "l1": functional.l1_loss}


class ContinuousTarget(Module):
    """Base class of targets computed from a token's continuous content."""

    def __init__(self, context: Context, name: str) -> None:
        super().__init__()
        (self.name,) = context.modalities
        spec = context.specs[self.name]
        if spec.width is None:
            raise ValueError(f"target {name} needs continuous tokens, but those of {self.name!r} are ids; use ids")
        self.width, self.num_outputs = spec.width, math.prod(spec.width)
        self.scale = ContentScale(spec)

    def scaled(self, run: Run, index: Tensor) -> Tensor:
        """Return (n, *width) scaled content at store coordinates ``index``."""
        return self.scale(run.batch.store[self.name].data[index - run.batch.base[self.name]])


def errors_of(kind: LossKind, predicted: Tensor, answers: Tensor, beta: float = 1.0) -> Tensor:
    """Return (N, w) losses of every number, in float32; ``smooth_l1`` is quadratic below a difference of ``beta``."""
    if kind == "smooth_l1":
        return functional.smooth_l1_loss(predicted.float(), answers, reduction="none", beta=beta)
    return _LOSSES[kind](predicted.float(), answers, reduction="none")


def mean_loss(kind: LossKind, predicted: Tensor, answers: Tensor) -> Tensor:
    """Return (N,) mean over the numbers of each answer, in float32; ``smooth_l1`` is quadratic below a difference of 1."""
    return errors_of(kind, predicted, answers).mean(1)
