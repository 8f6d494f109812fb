"""Exponential moving average of the weights. Validations use the averages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Ema:
    """Averages of a module's trainable parameters. Buffers and frozen parameters are not averaged.

    Update n (from 0) uses the decay ``min(decay, (1 + n) / (10 + n))``, so the initial weights don't dominate a short run [0].

    [0] ``tf.train.ExponentialMovingAverage`` with ``num_updates``.

    Args:
        module: owner of the parameters.
        decay: in (0, 1).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.averages = {name: p.detach().clone() for name, p in self._parameters.items()}

    def update(self) -> None:
        """Move the averages towards the current weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        get_ema_multi_avg_fn(decay)(list(self.averages.values()), list(self._parameters.values()), self.updates)
        self.updates += 1

    def restore(self, averages: Mapping[str, Tensor], updates: int) -> None:
        """Restore averages from a checkpoint."""
        with torch.no_grad():
            for name, average in self.averages.items():
                average.copy_(averages[name])
        self.updates = updates

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Replace the module's parameters with the averages inside the ``with`` block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self._parameters.items():
            if isinstance(parameter, DTensor):  # FSDP keeps using the parameter's original storage: swap values, not tensors
                _exchange(parameter.to_local(), self.averages[name])
            else:
                parameter.data, self.averages[name] = self.averages[name], parameter.data


def _exchange(present: Tensor, average: Any) -> None:
    average = average.to_local()
    kept = present.clone()
    present.copy_(average)
    average.copy_(kept)
