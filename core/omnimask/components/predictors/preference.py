"""Ranking of two samples of a group by preference. S sequences, D width, P pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from omnimask.components.predictors.of_sequences import OfSequences
from omnimask.interfaces import (
    Context,
    MaskedBatch,
    Prediction,
    Run,
    View,
)
from omnimask.network.pooling import SequencePool
from omnimask.packed import index_tensor

Pairs = NDArray[np.int64]


class Preference(OfSequences):
    """A score of a whole sequence, trained to rank two samples of a group by their labels [0].

    The loss of a pair is max(0, margin - s + s'), where s is the score of the sample with the larger label: the pairwise hinge loss
    of PROP [1]. Pairs are all those of one group with different labels; samples without the label are in none. The divisor of the
    loss is the number of pairs, and the score ``accuracy`` is the share of pairs in the correct order.

    Args:
        field: name of the label, a number, as declared in the recipe's ``labels:``.
        margin: margin between the two scores of a pair.
        pool: the first slot, the mean of all slots, or the encoder's summary tokens; auto: the summary if available, else the first
            slot.
        pooler: whether to apply a linear layer with tanh before the head.

    [0] Herbrich et al.: Large Margin Rank Boundaries for Ordinal Regression, 2000.
    [1] Ma et al.: PROP: Pre-training with Representative Words Prediction for Ad-hoc Retrieval, 2021.
    """

    def __init__(
        self,
        context: Context,
        *,
        field: str,
        margin: Annotated[float, Field(gt=0, description="margin between the two scores of a pair")] = 1.0,
        pool: SequencePool = "auto",
        pooler: bool = True,
    ) -> None:
        order = PairOrder(context, field, margin)
        super().__init__(context, order, pool=pool, pooler=pooler, bias=False)  # scores are only compared

    def counts(self, batch: MaskedBatch, view: View) -> Mapping[str, float]:
        return {self.term: float(len(self.answers.pairs(batch, view.context.layout.parent)))}


class PairOrder:
    """The target: answers are the pairs of a batch, (P, 2) rows, the one with the larger label first.

    Args:
        context: of the predictor.
        field: name of the label.
        margin: margin between the two scores of a pair.
    """

    num_outputs = 1

    def __init__(self, context: Context, field: str, margin: float) -> None:
        if field not in context.labels:
            known = f"declared: {list(context.labels)}" if context.labels else "declared: none; add labels: {" + field + ": {}}"
            raise ValueError(f"predictor preference reads label {field!r}, which is not declared; {known}")
        if context.labels[field].classes is not None:
            raise ValueError(f"predictor preference compares numbers, but label {field!r} has classes; remove them")
        self.field, self.margin = field, margin

    def pairs(self, batch: MaskedBatch, parent: NDArray[np.int64]) -> Pairs:
        """Return (P, 2) pairs of sequences of one group, given the samples ``parent`` (S,) of sequences; host data."""
        values, group = batch.labels[self.field][parent], batch.group[parent]
        # Samples of one group become adjacent; a stable sort keeps their order.
        order = np.argsort(group, kind="stable")
        borders = np.flatnonzero(np.diff(group[order])) + 1
        # Comparison of all samples of a group with each other: (row with the larger label, the other row).
        found = [rows[np.argwhere(values[rows][:, None] > values[rows])] for rows in np.split(order, borders)]
        return np.concatenate([np.zeros((0, 2), np.int64), *found])

    def answers(self, prediction: Prediction, run: Run) -> Tensor:
        """Return (P, 2) rows of the prediction."""
        at = prediction.targets.at
        pairs = self.pairs(run.batch, prediction.stream.layout.parent)
        return index_tensor(pairs, at.device)

    def loss(self, prediction: Prediction, answers: Tensor) -> Tensor:
        """Return (P,) hinge losses."""
        return (self.margin - self._differences(prediction, answers)).clamp(min=0.0)

    def content(self, prediction: Prediction, run: Run) -> None:
        """Return None: a ranking cannot be rendered."""

    def scores(self, prediction: Prediction, answers: Tensor) -> Mapping[str, Tensor]:
        """Return ``accuracy`` (P,) of the pairs."""
        return {"accuracy": (self._differences(prediction, answers) > 0).float()}

    def _differences(self, prediction: Prediction, answers: Tensor) -> Tensor:
        values: Any = prediction.head(prediction.features).float().squeeze(1)
        return values[answers[:, 0]] - values[answers[:, 1]]
