"""Target of hidden cells. N targets, V categories of all columns."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from omnimask.interfaces import Context, Module, Prediction, Run
from omnimask_tabular.schema import FIRST_CATEGORY, NUMBER
from omnimask_tabular.tokenizer import FIRST, SIZE, num_categories


class Cell(Module):
    """The value of a cell, by cross-entropy over the categories of its column or by the squared error of the scaled number.

    The head has one output for numbers and one for each category; outputs of other columns are masked. All targets have the same
    weight.

    Args:
        category_weight: weight of the cross-entropy relative to the squared error.
    """

    def __init__(self, context: Context, *, category_weight: Annotated[float, Field(gt=0)] = 1.0) -> None:
        super().__init__()
        (self.name,) = context.modalities
        self.num_outputs = 1 + num_categories(context.specs[self.name], "target tabular.cell")
        self.category_weight = category_weight

    def answers(self, prediction: Prediction, run: Run) -> Tensor:
        """Return (N, 4): the scaled number, the id of the cell's kind, and the column's first category and size."""
        row = prediction.targets.of - run.batch.base[self.name]
        content = run.batch.store[self.name].data[row].float()
        return torch.cat([content, self._columns(prediction, run)], dim=1)

    def _columns(self, prediction: Prediction, run: Run) -> Tensor:
        """Return (N, 2) first category and size of the columns, which do not depend on the values."""
        row = prediction.targets.of - run.batch.base[self.name]
        fields = run.batch.fields[self.name]
        return torch.stack([fields[FIRST][row], fields[SIZE][row]], dim=1).float()

    def loss(self, prediction: Prediction, answers: Tensor) -> Tensor:
        """Return (N,) losses."""
        number, logits = self._outputs(prediction, answers[:, 2:])
        squared = (number - answers[:, 0]).square()
        if not logits.shape[1]:
            return squared
        right = (answers[:, 1].long() - FIRST_CATEGORY).clamp(min=0)
        is_number = answers[:, 3] == 0
        entropy = functional.cross_entropy(logits, torch.where(is_number, 0, right), reduction="none")
        return torch.where(is_number, squared, self.category_weight * entropy)

    def _outputs(self, prediction: Prediction, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Return (N,) numbers and (N, V) logits: -inf for categories of other columns, 0 everywhere in columns of numbers."""
        outputs = prediction.head(prediction.features).float()
        first, size = columns[:, :1], columns[:, 1:]
        category = torch.arange(outputs.shape[1] - 1, device=outputs.device)
        is_own = (category >= first) & (category < first + size)
        return outputs[:, 0], torch.where(size > 0, outputs[:, 1:].masked_fill(~is_own, -torch.inf), 0.0)

    def content(self, prediction: Prediction, run: Run) -> Tensor:
        """Return (N, 2) scaled numbers and ids of the most probable categories."""
        columns = self._columns(prediction, run)
        number, logits = self._outputs(prediction, columns)
        is_number = columns[:, 1] == 0
        if not logits.shape[1]:
            return torch.stack([number, torch.full_like(number, NUMBER)], dim=1)
        kind = torch.where(is_number, NUMBER, FIRST_CATEGORY + logits.argmax(1))
        return torch.stack([torch.where(is_number, number, 0), kind.float()], dim=1)

    def scores(self, prediction: Prediction, answers: Tensor) -> dict[str, Tensor]:
        """Return ``accuracy`` for categories and ``squared_error`` for numbers, which is 1 for the column's mean."""
        number, logits = self._outputs(prediction, answers[:, 2:])
        is_number = answers[:, 3] == 0
        found = {"squared_error": (number - answers[:, 0]).square()[is_number]}
        if logits.shape[1] and not is_number.all():
            right = logits.argmax(1) == answers[:, 1].long() - FIRST_CATEGORY
            found["accuracy"] = right[~is_number].float()
        return {name: values for name, values in found.items() if len(values)}
