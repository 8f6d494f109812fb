"""Target of hidden windows, over their measured values. N targets, w values in a window."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from omnimask.interfaces import Context, Module, Prediction, Run
from omnimask_timeseries.tokenizer import OBSERVED, VALUES

Loss: TypeAlias = Literal["mse", "l1", "smooth_l1"]
_LOSSES = {"mse": functional.mse_loss, "l1": functional.l1_loss, "smooth_l1": functional.smooth_l1_loss}


class Values(Module):
    """The values of a window, as scaled by the tokenizer, by the mean loss over the measured ones.

    Args:
        loss: ``mse``, ``l1`` or ``smooth_l1`` (quadratic below a difference of 1).
    """

    def __init__(self, context: Context, *, loss: Loss = "mse") -> None:
        super().__init__()
        (self.name,) = context.modalities
        spec = context.specs[self.name]
        if spec.width is None or len(spec.width) != 2 or spec.width[0] != 2:
            raise ValueError(f"target timeseries.values requires tokens of timeseries.window; those of {self.name!r} differ")
        self.num_outputs = spec.width[1]
        self.kind: Loss = loss

    def answers(self, prediction: Prediction, run: Run) -> Tensor:
        """Return (N, 2, w) content of the target windows."""
        return run.batch.store[self.name].data[prediction.targets.of - run.batch.base[self.name]].float()

    def loss(self, prediction: Prediction, answers: Tensor) -> Tensor:
        """Return (N,) losses."""
        error = _LOSSES[self.kind](self._predicted(prediction), answers[:, VALUES], reduction="none")
        return _observed_mean(error, answers)

    def content(self, prediction: Prediction, run: Run) -> Tensor:
        """Return (N, 2, w) predicted content, with a value in every place, also those with a missing value."""
        values = self._predicted(prediction)
        return torch.stack([values, torch.ones_like(values)], dim=1)

    def scores(self, prediction: Prediction, answers: Tensor) -> dict[str, Tensor]:
        """Return (N,) ``absolute_error``, in units of the series' standard deviation if the tokenizer scales."""
        return {"absolute_error": _observed_mean((self._predicted(prediction) - answers[:, VALUES]).abs(), answers)}

    @staticmethod
    def _predicted(prediction: Prediction) -> Tensor:
        return prediction.head(prediction.features).float()


def _observed_mean(error: Tensor, answers: Tensor) -> Tensor:
    """Return the (N,) mean of (N, w) errors over the measured values."""
    is_observed = answers[:, OBSERVED]
    return (error * is_observed).sum(1) / is_observed.sum(1).clamp(min=1)
