"""Prediction of labels of whole sequences. S sequences, B samples, D width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from omnimask.component import Component
from omnimask.components.predictors.of_sequences import OfSequences
from omnimask.interfaces import Context, MaskedBatch, OfSamples, Target, View
from omnimask.network.pooling import SequencePool


class SequenceHead(OfSequences):
    """Pooled vector, linear layer with tanh as in BERT's pooler [0], and a linear head for a label of the sample.

    It has its own targets, so it works with any corruptor. The divisor of its loss is the number of samples with the label.

    Args:
        target: the label to predict.
        pool: the first slot, the mean of all slots, or the encoder's summary tokens; auto: the summary if available, else the first
            slot.
        pooler: whether to apply a linear layer with tanh before the head.

    [0] Devlin et al.: BERT, 2018.
    """

    def __init__(self, context: Context, *, target: Component[Target], pool: SequencePool = "auto", pooler: bool = True) -> None:
        answers: Any = target(context)
        if not isinstance(answers, OfSamples):
            found = type(answers).__name__
            raise ValueError(f"predictor sequence predicts a label of the sample, but {found} applies to tokens; use target label")
        super().__init__(context, answers, pool=pool, pooler=pooler)

    def counts(self, batch: MaskedBatch, view: View) -> Mapping[str, float]:
        return {self.term: float(np.count_nonzero(self.answers.is_known(batch.labels)[view.context.layout.parent]))}
