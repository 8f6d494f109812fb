"""Answers about whole sequences. S sequences, B samples, D width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from omnimask.blocks import initialise_normal
from omnimask.component import Component
from omnimask.interfaces import (
    Context,
    Encoded,
    LossTerm,
    MaskedBatch,
    Module,
    OfSamples,
    Prediction,
    Run,
    Stream,
    Target,
    Targets,
    View,
)
from omnimask.pooling import SequencePool, pooled


class SequenceHead(Module):
    """One vector of a sequence, a linear layer with tanh as BERT's pooler has [0], and a linear head on a label of the sample.

    Its targets are not the corruptor's, so it serves with any. The divisor of its loss is the number of samples that have the
    label.

    Args:
        target: which label is right.
        pool: the first slot, the mean of all slots, or the encoder's summary tokens; auto: the latter where there are any, else the
            first slot.
        pooler: whether a linear layer with tanh stands before the head.

    [0] Devlin et al.: BERT, 2018.
    """

    reads: ClassVar[Literal["context", "query"]] = "context"
    answers_sequences: ClassVar[bool] = True

    def __init__(self, context: Context, *, target: Component[Target], pool: SequencePool = "auto", pooler: bool = True) -> None:
        super().__init__()
        self.context = context
        self.pool: SequencePool = pool
        self.layers: Sequence[int] = () if context.layer is None else (context.layer,)
        if pool == "summary" and not context.summary:
            raise ValueError("pool summary: the encoder has no summary tokens; use first or mean")
        answers: Any = target(context)
        if not isinstance(answers, OfSamples):
            found = type(answers).__name__
            raise ValueError(f"a whole sequence answers for a label of its sample, and {found} is about tokens; use target label")
        self.label: Any = answers
        width = context.width
        self.pooler = nn.Sequential(nn.Linear(width, width), nn.Tanh()) if pooler else nn.Identity()
        self.head = nn.Linear(width, self.label.num_outputs)
        initialise_normal(self)

    @property
    def term(self) -> str:
        """Name of the loss term."""
        return self.context.label or "sequence"

    def target(self, modality: str) -> Target:
        return self.label

    def select(self, view: View) -> Mapping[str, Targets]:
        return {self.term: every_sequence(view.context)}

    def counts(self, batch: MaskedBatch, view: View) -> Mapping[str, float]:
        return {self.term: float(np.count_nonzero(self.label.is_known(batch.labels)[view.context.layout.parent]))}

    def predict(self, encoded: Encoded, view: View, run: Run) -> Mapping[str, Prediction]:
        features = self.pooler(pooled(encoded, self.pool, self.context.layer))
        table = every_sequence(encoded.stream)
        return {self.term: Prediction(features, self.head, table, encoded.stream, encoded.stream, self.context.modalities[0])}

    def losses(self, predictions: Mapping[str, Prediction], run: Run) -> Sequence[LossTerm]:
        prediction = predictions[self.term]
        return [LossTerm(self.term, self.label.loss(prediction, self.label.answers(prediction, run)).sum())]


def every_sequence(stream: Stream) -> Targets:
    """A row for each sequence of a stream."""
    count, device = stream.layout.num_sequences, _device(stream)
    nothing = torch.full((count,), -1, dtype=torch.int64, device=device)
    return Targets(torch.arange(count, device=device)[:, None], nothing, nothing, torch.ones(count, device=device), arity=0)


def _device(stream: Stream) -> torch.device:
    source = stream.source
    return source.device if isinstance(source, Tensor) else torch.device("cpu")
