"""Labels of whole samples as a target. N sequences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from omnimask.interfaces import Context, Module, Prediction, Run
from omnimask.packed import index_tensor


class Label(Module):
    """A label of a sequence's sample: a class, by cross-entropy, or a number, by squared error.

    Samples without the label contribute no loss. The scores are ``accuracy`` of classes and ``absolute_error`` of numbers.

    Args:
        field: name of the label, as declared in the recipe's ``labels:``.
    """

    def __init__(self, context: Context, *, field: str) -> None:
        super().__init__()
        if field not in context.labels:
            known = f"declared: {list(context.labels)}" if context.labels else "declared: none; add labels: {" + field + ": {...}}"
            raise ValueError(f"target label reads label {field!r}, which is not declared; {known}")
        self.field, self.classes = field, context.labels[field].classes
        self.num_outputs = self.classes or 1

    def answers(self, prediction: Prediction, run: Run) -> Tensor:
        """Return (N,) class numbers, -1 if missing, or numbers, NaN if missing."""
        stream, at = prediction.stream, prediction.targets.at
        values = run.batch.labels[self.field][stream.layout.parent]
        return index_tensor(values, at.device)[at[:, 0]]

    def is_known(self, labels: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        """Return (B,) True for samples with the label; host data."""
        values = labels[self.field]
        return ~np.isnan(values) if values.dtype.kind == "f" else values >= 0

    def loss(self, prediction: Prediction, answers: Tensor) -> Tensor:
        values = prediction.head(prediction.features).float()
        if self.classes is not None:
            return functional.cross_entropy(values, answers, ignore_index=-1, reduction="none")
        # NaN would reach the gradient through a product with 0, so it is replaced before the difference.
        is_absent = answers.isnan()
        return (values.squeeze(1) - answers.nan_to_num()).square().masked_fill(is_absent, 0.0)

    def content(self, prediction: Prediction, run: Run) -> None:
        """Return None: a label cannot be rendered."""

    def scores(self, prediction: Prediction, answers: Tensor) -> Mapping[str, Tensor]:
        """Return scores of the samples with the label."""
        values = prediction.head(prediction.features).float()
        if self.classes is not None:
            is_there = answers >= 0
            return {"accuracy": (values.argmax(1) == answers)[is_there].float()}
        is_there = ~answers.isnan()
        return {"absolute_error": (values.squeeze(1) - answers).abs()[is_there]}
