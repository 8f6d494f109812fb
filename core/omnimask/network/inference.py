"""What a trained model predicts, without gradient and without a trace in the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch

from omnimask.interfaces import MaskedBatch, Run
from omnimask.network.model import MaskedModel
from omnimask.packed import to_device


class Autocast(Protocol):
    """Device and number format of a forward pass (:class:`omnimask.training.devices.precision.Precision`)."""

    @property
    def device(self) -> torch.device: ...
    def autocast(self) -> AbstractContextManager[object]: ...


@contextmanager
def inference(model: MaskedModel, precision: Autocast) -> Iterator[None]:
    """Inside, a model runs as it is evaluated, and nothing is recorded for gradients; it is left in the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), precision.autocast():
            yield
    finally:
        model.train(was_training)


@contextmanager
def predicted(model: MaskedModel, batch: MaskedBatch, precision: Autocast) -> Iterator[Run]:
    """A batch with the model's predictions, on the device of ``precision``; inside as of :func:`inference`.

    Args:
        model: on that device; evaluated with the weights it holds.
        batch: on the host.
        precision: of the forward pass and of what is computed inside.
    """
    moved = to_device(batch, precision.device)
    with inference(model, precision):
        yield Run(moved, model.predict(moved))
