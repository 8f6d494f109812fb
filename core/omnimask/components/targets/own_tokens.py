"""The right token among the answers of the same sequence. N targets, S sequences, L targets of one sequence, D width."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from omnimask.components.targets.scores import LARGEST
from omnimask.interfaces import Context, Prediction, Run
from omnimask.packed import index_tensor, ranges


class OwnTokens:
    """The target of the predictor ``pick``: answers are the tokens' content, and a loss compares those of one sequence.

    A row's features (D,) are a query. Its logits are the products with the embeddings of all answers of its sequence, over the
    square root of D. Logits exist for pairs of one sequence only, in chunks.

    Args:
        context: of the predictor; the embedding of its modality is read and not owned.
    """

    def __init__(self, context: Context) -> None:
        (self.name,) = context.modalities
        self.number = list(context.specs).index(self.name)
        self.is_only = len(context.specs) == 1
        self.num_outputs = context.width
        self._embedding = (context.embeddings[self.name],)

    def answers(self, prediction: Prediction, run: Run) -> Tensor:
        """Return (N, ...) stored content of the answers."""
        content = run.batch.store[self.name].data
        return content[prediction.targets.of - run.batch.base[self.name]]

    def loss(self, prediction: Prediction, answers: Tensor, largest: int = LARGEST) -> Tensor:
        """Return (N,) cross-entropies over the answers of each row's sequence, in float32."""
        compared = self._compared(prediction, answers)
        jobs = list(compared.jobs(largest))
        # Several chunks are recomputed in the backward pass, so the logits of only one are in memory.
        if len(jobs) == 1:
            return compared.in_rows([_losses(*jobs[0])])
        return compared.in_rows([cast(Tensor, checkpoint(_losses, *job, use_reentrant=False)) for job in jobs])

    def content(self, prediction: Prediction, run: Run) -> None:
        """Return None: a choice among a sample's own tokens is not shown."""

    @torch.no_grad()
    def scores(self, prediction: Prediction, answers: Tensor, largest: int = LARGEST) -> Mapping[str, Tensor]:
        """Return ``accuracy`` and ``cross_entropy`` (N,); of equal logits, the right one counts as the last."""
        compared = self._compared(prediction, answers)
        jobs = list(compared.jobs(largest))
        found = {"accuracy": [_is_best(*job) for job in jobs], "cross_entropy": [_losses(*job) for job in jobs]}
        return {name: compared.in_rows(parts) for name, parts in found.items()}

    def _compared(self, prediction: Prediction, answers: Tensor) -> _Compared:
        at = prediction.targets.at[:, 0]
        by_slot = at.argsort()
        lengths = self._lengths(prediction)
        # Sequences of equal lengths become adjacent, so that each run is one product without padding.
        order = np.argsort(lengths, kind="stable")
        first = np.cumsum(lengths) - lengths
        index = by_slot[index_tensor(ranges(first[order], lengths[order]), at.device)]
        candidates = self._embedding[0](answers)
        return _Compared(prediction.head(prediction.features)[index], candidates[index], index, lengths[order])

    def _lengths(self, prediction: Prediction) -> NDArray[np.int64]:
        """Return (S,) rows of each sequence; host data.

        Raises:
            ValueError: a sequence has tokens of several modalities, or a slot several answers.
        """
        asked, layout = prediction.stream.asked, prediction.stream.layout
        assert asked is not None
        lengths = asked.layout.lengths
        if not self.is_only and layout.modality is not None:
            lengths = np.where(layout.modality == self.number, lengths, 0)
        if int(lengths.sum()) != len(prediction.targets):
            raise ValueError(
                f"predictor pick compares the hidden tokens of {self.name!r} in sequences of their own, each asked once, but "
                f"{int(lengths.sum())} slots have {len(prediction.targets)} answers; use the corruptor drop"
            )
        return lengths


@dataclass(frozen=True)
class _Compared:
    """Queries and candidates (N, D) in order of the sequences' ``lengths`` (S,), and the row ``index`` (N,) of each."""

    queries: Tensor
    candidates: Tensor
    index: Tensor
    lengths: NDArray[np.int64]

    def jobs(self, largest: int) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Yield queries (s, l, D), candidates (s, L, D) and the number of the first query in its sequence, in order.

        At most ``largest`` logits (s, l, L) at once, but at least one row.
        """
        start = 0
        for length, run in itertools.groupby(self.lengths.tolist()):
            count = len(list(run))
            step = max(1, largest // max(length * length, 1))
            for _ in range(0, count if length else 0, step):
                size = min(step, count)
                count -= size
                part = slice(start, start + size * length)
                start = part.stop
                queries, candidates = (x[part].unflatten(0, (size, length)) for x in (self.queries, self.candidates))
                rows = max(1, largest // length) if size == 1 else length
                for first in range(0, length, rows):
                    yield queries[:, first : first + rows], candidates, first

    def in_rows(self, parts: list[Tensor]) -> Tensor:
        """Return the jobs' results (s, l) in the order of the prediction's rows, (N,)."""
        values = torch.cat([part.flatten() for part in parts]) if parts else self.queries.sum(1).float()
        return torch.empty_like(values).index_copy(0, self.index, values)


def _logits(queries: Tensor, candidates: Tensor) -> Tensor:
    """Return (s, l, L) in float32."""
    return (queries @ candidates.transpose(1, 2)).float() * queries.shape[2] ** -0.5


def _right(logits: Tensor, first: int) -> Tensor:
    """Return the logits (s, l) of each query's own token: query i of the sequence asks for its i-th token."""
    return logits.diagonal(first, 1, 2)


def _losses(queries: Tensor, candidates: Tensor, first: int) -> Tensor:
    logits = _logits(queries, candidates)
    return logits.logsumexp(2) - _right(logits, first)


def _is_best(queries: Tensor, candidates: Tensor, first: int) -> Tensor:
    logits = _logits(queries, candidates)
    # Not smaller than any other: the right one itself is the only one that is not below. NaN is never correct.
    return ((logits >= _right(logits, first)[:, :, None]).sum(2) == 1).float()
