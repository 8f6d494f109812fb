"""Predicted distributions instead of mask tokens. N targets, V ids, k slots."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from omnimask.components.replacers.base import ReplacesPredicted
from omnimask.components.targets.scores import logits_of
from omnimask.interfaces import Context, Prediction, Run, Stream


class Soft(ReplacesPredicted):
    """Shows an earlier pass's predicted distribution over ids, embedded as the mean of the ids' vectors (DiffPALM [0]).

    Needs an embedding that maps soft ids, such as ``table``. Memory grows with slots times ids.

    Args:
        by: the earlier pass.
        predictor: label of its predictor; default: its only one.
        temperature: divides the logits.
        gradient: whether the loss of this pass also trains the earlier pass through the distribution.

    [0] Lupo et al.: Pairing interacting protein sequences using masked language modeling, 2024.
    """

    def __init__(
        self,
        context: Context,
        *,
        by: str,
        predictor: str | None = None,
        temperature: Annotated[float, Field(gt=0)] = 1.0,
        gradient: bool = False,
    ) -> None:
        super().__init__(context, by, predictor)
        self.temperature, self.gradient = temperature, gradient

    def ids_of(self, prediction: Prediction, row: Tensor, stream: Stream, slots: Tensor, shown: Tensor, run: Run) -> Tensor:
        spec = self.specs[prediction.modality]
        if spec.vocabulary is None:
            raise ValueError(f"replacer soft predicts ids, but the tokens of {prediction.modality!r} are continuous")
        with torch.set_grad_enabled(self.gradient and torch.is_grad_enabled()):
            logits = torch.cat([part[:, : spec.vocabulary] for part in logits_of(prediction, spec.vocabulary)])
            predicted = functional.pad((logits / self.temperature).softmax(1), (0, spec.num_special_rows))
            held = functional.one_hot(shown, spec.vocabulary + spec.num_special_rows).to(predicted.dtype)
            return torch.where((row >= 0)[:, None], predicted[row.clamp(min=0)], held)
