"""Cross-entropy over a large vocabulary with bounded memory for logits. N targets, D width, V ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from omnimask.network.heads import TiedHead
from omnimask.network.layers import product_dtype

LARGEST = 1 << 26
"""Maximum number of logits in memory: 256 MiB in float32."""

_PLAIN = (nn.Linear, TiedHead)
"""Heads that consist of a matrix and a bias only; subclasses may compute something else."""


def head_cross_entropy(features: Tensor, head: Callable[[Tensor], Tensor], answers: Tensor) -> Tensor:
    """Return (N,) cross-entropy of a head's logits in float32, with the cheapest method for the head."""
    if isinstance(head, (nn.Linear, TiedHead)) and type(head) in _PLAIN:
        return linear_cross_entropy(features, head.weight, head.bias, answers)
    return cross_entropy_of(features, head, answers)


def linear_cross_entropy(features: Tensor, weight: Tensor, bias: Tensor | None, answers: Tensor, largest: int = LARGEST) -> Tensor:
    """Return (N,) cross-entropy of ``softmax(features weight^T + bias)`` in float32, natural logarithm.

    If all N x V logits fit into ``largest`` numbers, they are computed once, and their memory is reused for the probabilities and
    the gradient. Otherwise they are computed in chunks, and recomputed in the backward pass.

    Args:
        features: (N, D).
        weight: (V, D), used in the precision of autocast if it is enabled.
        bias: (V,) or None.
        answers: (N,) ids in [0, V).
        largest: maximum number of logits in a chunk; a chunk has at least one row.
    """
    features, weight = features.to(product_dtype(features)), weight.to(product_dtype(weight))
    out = _LinearCrossEntropy.apply(features, weight, bias, answers, largest)
    assert isinstance(out, Tensor)
    return out


def cross_entropy_of(features: Tensor, head: Callable[[Tensor], Tensor], answers: Tensor, largest: int = LARGEST) -> Tensor:
    """Return (N,) cross-entropy of any head's logits in float32, in chunks if the head's outputs do not fit at once."""

    def of(part: Tensor, right: Tensor) -> Tensor:
        return functional.cross_entropy(head(part).float(), right, reduction="none")

    outputs = getattr(head, "out_features", None)
    rows = len(features) if outputs is None else max(1, largest // outputs)
    if len(features) <= rows:
        return of(features, answers)
    parts = zip(features.split(rows), answers.split(rows), strict=True)
    return torch.cat([checkpoint(of, part, right, use_reentrant=False) for part, right in parts])  # pyright: ignore[reportArgumentType]


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None, answers: Tensor, largest: int) -> Tensor:
        rows = max(1, largest // len(weight))
        losses, normalisers = features.new_empty(len(features), dtype=torch.float32), []
        probabilities = None
        for start in range(0, len(features), rows):
            part, right = features[start : start + rows], answers[start : start + rows]
            logits = _logits(part, weight, bias)
            normaliser = logits.logsumexp(1)
            losses[start : start + rows] = normaliser - logits.gather(1, right[:, None]).squeeze(1)
            normalisers.append(normaliser)
            if len(features) <= rows:
                # A single chunk: the memory of the logits becomes the softmax for the backward pass.
                probabilities = logits.sub_(normaliser[:, None]).exp_()
        ctx.rows, ctx.probabilities = rows, probabilities
        normaliser = torch.cat(normalisers) if normalisers else losses
        ctx.save_for_backward(features, weight, bias, answers, normaliser)
        return losses

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, bias, answers, normaliser = ctx.saved_tensors
        (grad,) = upstream
        wants_features, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        to_features = torch.empty_like(features) if wants_features else None
        # Sums over chunks stay in float32, whatever the precision of the products.
        to_weight = torch.zeros_like(weight, dtype=torch.float32) if wants_weight else None
        to_bias = torch.zeros_like(bias, dtype=torch.float32) if wants_bias and bias is not None else None
        for start in range(0, len(features), ctx.rows):
            part = slice(start, start + ctx.rows)
            # Overwritten below, so a second backward pass computes them again.
            slope, ctx.probabilities = ctx.probabilities, None
            if slope is None:
                slope = _logits(features[part], weight, bias).sub_(normaliser[part, None]).exp_()
            # Gradient of the logits: (softmax - one-hot of the answer) * upstream.
            slope.scatter_add_(1, answers[part, None], slope.new_full((len(slope), 1), -1.0))
            slope *= grad[part, None]
            if to_bias is not None:
                to_bias += slope.sum(0)
            slope = slope.to(weight.dtype)
            if to_features is not None:
                torch.mm(slope, weight, out=to_features[part])
            if to_weight is not None:
                _add_product(to_weight, slope, features[part])
        cast = None if to_weight is None else to_weight.to(weight.dtype)
        return to_features, cast, None if to_bias is None or bias is None else to_bias.to(bias.dtype), None, None


def _logits(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return (n, V) float32 logits in newly allocated memory."""
    logits = (features @ weight.t()).float()
    return logits if bias is None else logits.add_(bias.float())


def _add_product(total: Tensor, slope: Tensor, features: Tensor) -> None:
    """Compute ``total += slope^T features`` in the precision of ``total``."""
    if slope.dtype == total.dtype:
        total.addmm_(slope.t(), features)
    else:
        total += slope.t() @ features
