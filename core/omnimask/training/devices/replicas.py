"""Replication of a model over ranks, and reduction of its gradients.

:class:`Replicas` is the default: every rank holds the whole model, and gradients are summed once a step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from omnimask.errors import RunStopped
from omnimask.interfaces import MaskedBatch
from omnimask.training.devices.ranks import Ranks, told

BUCKET_BYTES = 64 * 2**20
"""Approximate size of a gradient bucket. Copies of at most two buckets exist at a time."""
_IN_FLIGHT = 2


class Replicas:
    """Replicated model: every rank holds all of it and applies the same update.

    Each rank sums the gradients of its micro-batches. They are then summed over ranks in flat buckets, once a step. Ranks may
    therefore have different numbers of micro-batches, and a parameter may be used on some ranks only. A parameter used by no rank
    has no gradient, as in a single process. docs/decisions/0016 explains why this is not torch's ``DistributedDataParallel``.

    Args:
        ranks: processes that train together; a single rank sums nothing.
    """

    is_sharded = False

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    def place(self, model: nn.Module, device: torch.device) -> None:
        """Move the model to its device and broadcast rank 0's weights."""
        model.to(device)
        self.spread(model)

    def spread(self, model: nn.Module) -> None:
        """Broadcast rank 0's parameters and buffers."""
        if self.ranks.world == 1:
            return
        with torch.no_grad():
            for tensors in _buckets([*model.parameters(), *model.buffers()]):
                flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
                self.ranks.spread(flat)
                _copy_back(flat, tensors)

    @contextmanager
    def step(self, counts: Sequence[Mapping[str, float]]) -> Generator[None]:
        """Wrap the forward and backward passes of a step.

        Args:
            counts: denominators of each of this rank's micro-batches.
        """
        yield

    def forward(self, model: nn.Module, batch: MaskedBatch, denominators: Mapping[str, float], *, is_last: bool) -> Any:
        """Return the model's output for one micro-batch of a step."""
        return model(batch, denominators)

    def evaluate(self, model: nn.Module, batch: MaskedBatch, denominators: Mapping[str, float]) -> Any:
        """Return the model's output with scores, inside :meth:`whole`."""
        return model(batch, denominators, is_scored=True)

    def reduce(self, parameters: Sequence[nn.Parameter], failure: BaseException | None = None) -> None:
        """Sum gradients over ranks.

        Raises:
            RunStopped: another rank failed. If this rank failed, ``failure`` itself is raised.
        """
        if failure is None and self.ranks.world == 1:
            return
        failed, *is_used = self.ranks.largest([failure is not None, *(p.grad is not None for p in parameters)])
        if failure is not None:
            raise failure
        if failed:
            raise told(RunStopped("another rank failed; see its message"))
        self._sum([p for p, used in zip(parameters, is_used, strict=True) if used])

    def _sum(self, parameters: Sequence[nn.Parameter]) -> None:
        pending: deque[tuple[Any, Tensor, list[Tensor]]] = deque()
        for bucket in _buckets(parameters):
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
            for parameter, gradient in zip(bucket, gradients, strict=True):
                parameter.grad = gradient
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            pending.append((self.ranks.add(flat), flat, gradients))
            if len(pending) == _IN_FLIGHT:
                _finish(*pending.popleft())
        while pending:
            _finish(*pending.popleft())

    def norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """Return the norm () of all gradients together, the same on every rank."""
        return get_total_norm(gradients)

    @contextmanager
    def whole(self, model: nn.Module) -> Generator[None]:
        """Allow a rank to run the model without the others inside the ``with`` block."""
        yield


def _finish(work: Any, flat: Tensor, tensors: Sequence[Tensor]) -> None:
    work.wait()
    _copy_back(flat, tensors)


def _copy_back(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    parts = flat.split([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


def _buckets(tensors: Iterable[Any]) -> list[list[Any]]:
    """Group tensors by dtype, in order, into buckets of about ``BUCKET_BYTES``."""
    open_: dict[torch.dtype, list[Any]] = {}
    done: list[list[Any]] = []
    for tensor in tensors:
        bucket = open_.setdefault(tensor.dtype, [])
        bucket.append(tensor)
        if sum(held.numel() * held.element_size() for held in bucket) >= BUCKET_BYTES:
            done.append(open_.pop(tensor.dtype))
    return done + list(open_.values())
