"""Predictions of a trained model without gradients, leaving the model unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch

from omnimask.interfaces import MaskedBatch, Run
from omnimask.network.model import MaskedModel
from omnimask.packed import to_device


class Autocast(Protocol):
    """Device and autocast dtype of a forward pass (:class:`omnimask.training.devices.precision.Precision`)."""

    @property
    def device(self) -> torch.device: ...
    def autocast(self) -> AbstractContextManager[object]: ...


@contextmanager
def inference(model: MaskedModel, precision: Autocast) -> Iterator[None]:
    """Run a model in evaluation mode without gradients, and restore its mode afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), precision.autocast():
            yield
    finally:
        model.train(was_training)


@contextmanager
def predicted(model: MaskedModel, batch: MaskedBatch, precision: Autocast) -> Iterator[Run]:
    """Yield a batch with the model's predictions, on the device of ``precision``; the body runs under :func:`inference`.

    Args:
        model: on this device; evaluated with its current weights.
        batch: on the host.
        precision: of the forward pass and of the body's computations.
    """
    moved = to_device(batch, precision.device)
    with inference(model, precision):
        yield Run(moved, model.predict(moved))
