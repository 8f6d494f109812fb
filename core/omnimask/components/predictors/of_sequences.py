"""Base class of predictors of whole sequences: one vector each, a head on it, and one loss. S sequences, D width."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from omnimask.interfaces import Context, Encoded, LossTerm, MaskedBatch, Module, Prediction, Run, Stream, Target, Targets, View
from omnimask.network.blocks import initialise_normal
from omnimask.network.pooling import SequencePool, check_pool, pooled


class OfSequences(Module, ABC):
    """Base class of predictors of whole sequences, which work with any corruptor.

    Args:
        context: of the predictor.
        answers: the one target.
        pool: kind of the sequence's vector.
        pooler: whether to apply a linear layer with tanh before the head, as in BERT.
        bias: whether the head has one.
    """

    reads: ClassVar[Literal["context", "query"]] = "context"
    answers_sequences: ClassVar[bool] = True

    def __init__(self, context: Context, answers: Any, *, pool: SequencePool, pooler: bool, bias: bool = True) -> None:
        super().__init__()
        self.context = context
        self.pool: SequencePool = pool
        self.layers: Sequence[int] = () if context.layer is None else (context.layer,)
        check_pool(pool, context.summary)
        self.answers = answers
        width = context.width
        self.pooler = nn.Sequential(nn.Linear(width, width), nn.Tanh()) if pooler else nn.Identity()
        self.head = nn.Linear(width, answers.num_outputs, bias=bias)
        initialise_normal(self)

    @property
    def term(self) -> str:
        """Name of the loss term."""
        return self.context.label or type(self).__name__.lower()

    def target(self, modality: str) -> Target:
        return self.answers

    def select(self, view: View) -> Mapping[str, Targets]:
        return {self.term: every_sequence(view.context)}

    @abstractmethod
    def counts(self, batch: MaskedBatch, view: View) -> Mapping[str, float]:
        """Return the divisor, from the batch's labels."""

    def predict(self, encoded: Encoded, view: View, run: Run) -> Mapping[str, Prediction]:
        features = self.pooler(pooled(encoded, self.pool, self.context.layer))
        table = every_sequence(encoded.stream)
        return {self.term: Prediction(features, self.head, table, encoded.stream, encoded.stream, self.context.modalities[0])}

    def losses(self, predictions: Mapping[str, Prediction], run: Run) -> Sequence[LossTerm]:
        prediction = predictions[self.term]
        return [LossTerm(self.term, self.answers.loss(prediction, self.answers.answers(prediction, run)).sum())]


def every_sequence(stream: Stream) -> Targets:
    """Return a row for each sequence of a stream."""
    count, device = stream.layout.num_sequences, _device(stream)
    nothing = torch.full((count,), -1, dtype=torch.int64, device=device)
    return Targets(torch.arange(count, device=device)[:, None], nothing, nothing, torch.ones(count, device=device), arity=0)


def _device(stream: Stream) -> torch.device:
    source = stream.source
    return source.device if isinstance(source, Tensor) else torch.device("cpu")
