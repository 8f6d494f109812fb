"""Measurement of learned vectors over held-out targets. n rows, D width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from omnimask.interfaces import LearnedVectors
from omnimask.packed import index_tensor
from omnimask.registry.observers import LearnedSpread
from omnimask.training.devices.ranks import Ranks

ROWS = 1024
"""Maximum number of targets to measure."""


@dataclass(frozen=True)
class _KeptRows:
    """Rows of one term: ``keys`` (n,) float64, ``answers`` (n, D) and ``predictions`` (n, W) float32, on the host."""

    source: str
    remedy: str
    keys: NDArray[np.float64]
    answers: NDArray[np.float32]
    predictions: NDArray[np.float32]

    def smallest(self, most: int) -> _KeptRows:
        """Return the rows with the smallest keys, in their order."""
        order = np.argsort(self.keys, kind="stable")[:most]
        return _KeptRows(self.source, self.remedy, self.keys[order], self.answers[order], self.predictions[order])


class LearnedRows:
    """Uniform sample of at most ``most`` targets of each term, over all batches and ranks.

    Every target has a key, drawn from the number of its batch; the targets with the smallest keys are the sample. It is therefore
    the same at every validation, and for any number of ranks.
    """

    def __init__(self, most: int = ROWS) -> None:
        self.most = most
        self._rows: dict[str, _KeptRows] = {}

    def add(self, number: int, found: Mapping[str, LearnedVectors]) -> None:
        """Add the vectors of a batch; ``number`` counts the batches of all ranks."""
        for term, vectors in found.items():
            keys = np.random.default_rng(number).random(len(vectors.answers))
            kept = self._rows.get(term)
            limit = np.inf if kept is None or len(kept.keys) < self.most else kept.keys[-1]
            # Chosen on the host, so only these rows leave the device.
            chosen = np.argsort(keys, kind="stable")[: self.most]
            chosen = chosen[keys[chosen] < limit]
            new = _KeptRows(
                vectors.source, vectors.remedy, keys[chosen], _host(vectors.answers, chosen), _host(vectors.predictions, chosen)
            )
            self._rows[term] = new if kept is None else _joined([kept, new]).smallest(self.most)

    def measured(self, ranks: Ranks) -> dict[str, LearnedSpread]:
        """Return the measurements over the batches of all ranks, by term; the same on all ranks."""
        keys = ranks.gathered({term: rows.keys for term, rows in self._rows.items()})
        terms = sorted(set().union(*keys))
        if not terms:
            return {}
        own: dict[str, _KeptRows] = {}
        for term in terms:
            limit = np.sort(np.concatenate([each[term] for each in keys if term in each]))[: self.most][-1]
            if term in self._rows:
                own[term] = self._rows[term].smallest(int((self._rows[term].keys <= limit).sum()))
        everything = ranks.gathered(own)
        # Computed once: machines may differ in the last digits of a decomposition.
        return ranks.first(lambda: {term: _measured([each[term] for each in everything if term in each]) for term in terms})


def _host(tensor: Tensor, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    return tensor.detach()[index_tensor(rows, tensor.device)].float().cpu().numpy()


def _joined(several: Sequence[_KeptRows]) -> _KeptRows:
    answers, predictions = [rows.answers for rows in several], [rows.predictions for rows in several]
    keys = np.concatenate([rows.keys for rows in several])
    return _KeptRows(several[0].source, several[0].remedy, keys, np.concatenate(answers), np.concatenate(predictions))


def _measured(several: Sequence[_KeptRows]) -> LearnedSpread:
    rows = _joined(several)
    rows = rows.smallest(len(rows.keys))
    count, width = rows.answers.shape
    numbers = (rankme(rows.answers), spread(rows.answers), spread(rows.predictions))
    return LearnedSpread(rows.source, count, width, *numbers, rows.remedy)


def rankme(vectors: NDArray[np.floating]) -> float:
    """Return the effective rank of (n, D) vectors, from 1 to the smaller of n and D: RankMe [0].

    It is the exponential of the entropy of the singular values divided by their sum, without centring. NaN if there are fewer than
    two vectors, all are zero, or a number is not finite.

    [0] Garrido et al.: RankMe: Assessing the Downstream Performance of Pretrained Self-Supervised Representations by Their Rank,
    2023.
    """
    if len(vectors) < 2 or not np.isfinite(vectors).all() or not np.any(vectors):
        return float("nan")
    values = np.linalg.svd(vectors.astype(np.float64), compute_uv=False)
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def spread(vectors: NDArray[np.floating]) -> float:
    """Return the standard deviation of (n, D) vectors over rows in [0, 1], independent of the scale of each number of the width.

    Each number's standard deviation is divided by its root mean square over rows, and the median taken over the numbers that are
    not always zero: 0 for equal rows, 1 for rows around zero. A few numbers of the width with huge constant values, as transformers
    have them, do not hide the others. NaN if there are fewer than two vectors or a number is not finite.
    """
    if len(vectors) < 2 or not np.isfinite(vectors).all():
        return float("nan")
    values = vectors.astype(np.float64)
    size = np.sqrt(np.square(values).mean(0))
    deviation = values.std(0)
    is_used = size > 0
    return float(np.median(deviation[is_used] / size[is_used])) if is_used.any() else 0.0
