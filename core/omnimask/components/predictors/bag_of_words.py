"""Prediction of the set of a sequence's ids from its ordinary tokens. T slots, S sequences, D width, V ids."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from omnimask.components.predictors.of_sequences import every_sequence
from omnimask.components.targets.bag import Bag
from omnimask.interfaces import Context, Encoded, LossTerm, MaskedBatch, Module, Prediction, Run, Target, Targets, View
from omnimask.network.blocks import initialise_normal
from omnimask.network.embed import field_at
from omnimask.network.heads import heads_over_ids
from omnimask.network.layers import product_dtype
from omnimask.packed import index_tensor

UNSEEN = -1e4
"""Logit of an id at a slot that is excluded."""


class BagOfWords(Module):
    """Prediction of the set of a sequence's ids, with logits from its ordinary tokens (RetroMAE-2 [0]).

    Linear, GELU, norm, then a logit for every id. It trains the token features unused by the first slot's vector. The
    divisor of its loss is the number of sequences. At most one sequence's logits exist at once.

    Serves any modality with ids. Several share the linear layer and the norm, with one term each.

    Args:
        pool: ``max``: logits are computed at every token, and the maximum counts [0]; ``mean``: they are computed once, from the
            mean of the tokens' features, at little cost.
        tied: whether output weights are tied to the embedding, or are the head's own.
        bias: whether the linear layer and the norm before the logits have biases; the logits have one.
        norm_eps: epsilon of the norm.

    [0] Liu, Xiao, Shao, Cao: RetroMAE-2: Duplex Masked Auto-Encoder For Pre-Training Retrieval-Oriented Language Models, 2023.
    """

    reads: ClassVar[Literal["context", "query"]] = "context"
    answers_sequences: ClassVar[bool] = True

    def __init__(
        self,
        context: Context,
        *,
        pool: Literal["max", "mean"] = "max",
        tied: bool = True,
        bias: bool = True,
        norm_eps: Annotated[float, Field(gt=0)] = 1e-12,
    ) -> None:
        super().__init__()
        self.context, self.pool, width = context, pool, context.width
        self.layers: Sequence[int] = () if context.layer is None else (context.layer,)
        self.bags = {m: Bag(dataclasses.replace(context, modalities=(m,))) for m in context.modalities}
        self.names = tuple(context.specs)
        self.dense = nn.Linear(width, width, bias=bias)
        self.norm = nn.LayerNorm(width, eps=norm_eps, bias=bias)
        self.heads = heads_over_ids(context, {m: bag.num_outputs for m, bag in self.bags.items()}, tied=tied)
        initialise_normal(self)

    def target(self, modality: str) -> Target:
        return self.bags[modality]

    def term(self, modality: str) -> str:
        """Return the name of a modality's loss term."""
        label = self.context.label or "bag"
        return label if len(self.context.modalities) == 1 else f"{label}.{modality}"

    def select(self, view: View) -> Mapping[str, Targets]:
        return {self.term(m): every_sequence(view.context) for m in self.context.modalities}

    def counts(self, batch: MaskedBatch, view: View) -> Mapping[str, float]:
        parent = view.context.layout.parent
        return {self.term(m): float(np.count_nonzero(batch.store[m].layout.lengths[parent])) for m in self.context.modalities}

    def predict(self, encoded: Encoded, view: View, run: Run) -> Mapping[str, Prediction]:
        stream, features = encoded.stream, encoded.at(self.context.layer)
        special = self._special(encoded, run)
        predictions = {}
        for m in self.context.modalities:
            counts = ~special & (stream.modality == self.names.index(m))
            head: Any = self.heads[m]
            if self.pool == "max":
                scores = best_scores(self._transformed(features), head.weight, head.bias, counts, stream.layout.lengths.tolist())
                head = nn.Identity()
            else:
                scores = self._transformed(_mean(features, counts, stream.layout.lengths))
            predictions[self.term(m)] = Prediction(scores, head, every_sequence(stream), stream, stream, m)
        return predictions

    def losses(self, predictions: Mapping[str, Prediction], run: Run) -> Sequence[LossTerm]:
        terms = []
        for name, prediction in predictions.items():
            bag = self.bags[prediction.modality]
            terms.append(LossTerm(name, bag.loss(prediction, bag.answers(prediction, run)).sum()))
        return terms

    def _transformed(self, features: Tensor) -> Tensor:
        return self.norm(functional.gelu(self.dense(features)))

    def _special(self, encoded: Encoded, run: Run) -> Tensor:
        """Return (T,) True for slots of special tokens."""
        return field_at(encoded.stream, run.batch, "special").bool()


def _mean(features: Tensor, counts: Tensor, lengths: np.ndarray) -> Tensor:
    """Return (S, D) mean of the slots in ``counts``; zeros for a sequence without any."""
    owner = index_tensor(np.repeat(np.arange(len(lengths)), lengths), features.device)
    weight = counts.to(features.dtype)
    total = features.new_zeros(len(lengths), features.shape[1]).index_add(0, owner, features * weight[:, None])
    return total / weight.new_zeros(len(lengths)).index_add(0, owner, weight).clamp(min=1)[:, None]


def best_scores(features: Tensor, weight: Tensor, bias: Tensor | None, counts: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return (S, V) float32 maximum, per sequence and id, of ``features weight^T + bias`` over the slots in ``counts``.

    Logits are computed one sequence at a time and not stored: the gradient flows only to the best slot of each id.

    Args:
        features: (T, D) of concatenated sequences.
        weight: (V, D), used in the precision of autocast if it is enabled.
        bias: (V,) or None.
        counts: (T,) bool.
        lengths: of the S sequences; a sequence without slots in ``counts`` gives UNSEEN everywhere.
    """
    features, weight = features.to(product_dtype(features)), weight.to(product_dtype(weight))
    out = _BestScores.apply(features, weight, bias, counts, lengths)
    assert isinstance(out, Tensor)
    return out


class _BestScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None, counts: Tensor, lengths: Sequence[int]) -> Tensor:
        best = features.new_full((len(lengths), len(weight)), UNSEEN, dtype=torch.float32)
        slots = torch.zeros(best.shape, dtype=torch.int64, device=features.device)
        # Added to the logits: excluded slots lose every maximum without being gathered out.
        hidden = torch.zeros(len(counts), device=features.device).masked_fill(~counts, UNSEEN)
        first = 0
        for row, length in enumerate(lengths):
            if length:
                part = slice(first, first + length)
                # (length, V), the only logits that exist at this time.
                scores = (features[part] @ weight.t()).float().add_(hidden[part, None])
                torch.max(scores, dim=0, out=(best[row], slots[row]))
                slots[row] += first
            first += length
        ctx.save_for_backward(features, weight, slots)
        ctx.lengths, ctx.has_bias = lengths, bias is not None
        return best if bias is None else best + bias.float()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, slots = ctx.saved_tensors
        (grad,) = upstream
        to_features = torch.zeros_like(features, dtype=torch.float32)
        to_weight = torch.zeros_like(weight, dtype=torch.float32)
        for row, length in enumerate(ctx.lengths):
            if length:
                # (V, D) rows: the gradient of an id's score reaches the one slot that gave the maximum.
                to_features.index_add_(0, slots[row], grad[row, :, None] * weight)
                to_weight += grad[row, :, None] * features[slots[row]]
        return to_features.to(features.dtype), to_weight.to(weight.dtype), grad.sum(0) if ctx.has_bias else None, None, None
