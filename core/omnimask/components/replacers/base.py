"""Base class of replacers: predictions of an earlier pass at slots that show an id. T slots, k of a modality, N targets."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from omnimask.interfaces import Context, Module, Prediction, Run, Stream
from omnimask.packed import index_tensor


class ReplacesPredicted(Module, ABC):
    """Replaces the ids shown by slots about which an earlier pass was asked. A subclass implements :meth:`ids_of`.

    Args:
        context: of the pass.
        by: the earlier pass.
        predictor: label of its predictor; None for its only one.

    Raises:
        ValueError: there is no such pass or predictor.
    """

    def __init__(self, context: Context, by: str, predictor: str | None) -> None:
        super().__init__()
        self.by, self.names, self.specs = by, context.modalities, context.specs
        self._predictions = context.earlier(by).predictions(predictor)

    def forward(self, stream: Stream, run: Run) -> Stream:
        predictions = self._predictions(run)
        for name in self.names:
            prediction, reads = predictions.get(name), stream.reads.get(name)
            if prediction is None or reads is None or not len(reads.literal_slots) or not len(prediction.targets):
                continue
            row = _rows(prediction, stream, reads.literal_slots, run.batch.num_tokens)
            stream = with_ids(stream, name, self.ids_of(prediction, row, stream, reads.literal_slots, reads.literals, run))
        return stream

    @abstractmethod
    def ids_of(self, prediction: Prediction, row: Tensor, stream: Stream, slots: Tensor, shown: Tensor, run: Run) -> Tensor:
        """Return (k,) ids, or (k, V) soft ids.

        Args:
            prediction: of the earlier pass.
            row: (k,) row of the prediction about a slot's token, -1 if it was not asked about it.
            stream: of this pass.
            slots: (k,) slots that show an id.
            shown: (k,) their ids.
            run: the batch and the earlier results.
        """


def _rows(prediction: Prediction, stream: Stream, slots: Tensor, num_tokens: int) -> Tensor:
    """Return (k,) the row of a prediction about the token of each slot in the same sequence, -1 if there is none."""
    theirs, own = prediction.stream.layout, stream.layout
    if theirs.num_sequences != own.num_sequences:
        raise ValueError(
            f"the earlier pass has {theirs.num_sequences} sequences and this one {own.num_sequences}; a replaced stream needs the "
            "sequences of the pass that replaces it: give both views the same repeat and split"
        )
    table, device = prediction.targets, slots.device
    # A token is found in its own sequence, as several sequences of a sample may show it.
    asked = _sequence(theirs.lengths, device)[table.at[:, 0]] * num_tokens + table.of
    wanted = _sequence(own.lengths, device)[slots] * num_tokens + stream.source[slots]
    keys, order = asked.sort()
    place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    is_asked = (keys[place] == wanted) & (stream.source[slots] >= 0)
    return torch.where(is_asked, order[place], -1)


def _sequence(lengths: np.ndarray, device: torch.device) -> Tensor:
    return index_tensor(np.repeat(np.arange(len(lengths)), lengths), device)


def with_ids(stream: Stream, modality: str, ids: Tensor) -> Stream:
    """Return a stream whose slots that show an id of a modality show others: ``ids`` (k,), or (k, V) soft ids.

    Soft ids change the embedding only. :attr:`Stream.literal` keeps the ids shown before.
    """
    reads = stream.reads[modality]
    literal = stream.literal if ids.is_floating_point() else stream.literal.index_copy(0, reads.literal_slots, ids)
    changed = {**stream.reads, modality: dataclasses.replace(reads, literals=ids)}
    return dataclasses.replace(stream, literal=literal, reads=changed)
