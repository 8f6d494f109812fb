"""How several ranks hold one model, and how their gradients become one.

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
"""Gradients travel in pieces of about this size; a second copy of two of them is held at a time."""
_IN_FLIGHT = 2


class Replicas:
    """Every rank holds the whole model, and updates it in the same way.

    Each rank sums the gradients of its micro-batches; then they are summed over ranks, in flat buckets, once a step. So ranks may
    have different numbers of micro-batches, and a parameter may be used on some ranks only; one that none used has no gradient, as
    in a single process. docs/decisions/0016 says why this is not torch's ``DistributedDataParallel``.

    Args:
        ranks: that train together; one rank alone sums nothing.
    """

    is_sharded = False

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    def place(self, model: nn.Module, device: torch.device) -> None:
        """The model on its device, with rank 0's weights everywhere."""
        model.to(device)
        self.spread(model)

    def spread(self, model: nn.Module) -> None:
        """Rank 0's parameters and buffers, for all."""
        if self.ranks.world == 1:
            return
        with torch.no_grad():
            for tensors in _buckets([*model.parameters(), *model.buffers()]):
                flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
                self.ranks.spread(flat)
                _copy_back(flat, tensors)

    @contextmanager
    def step(self, counts: Sequence[Mapping[str, float]]) -> Generator[None]:
        """Around the forward and backward passes of a step.

        Args:
            counts: denominators of each of this rank's micro-batches.
        """
        yield

    def forward(self, model: nn.Module, batch: MaskedBatch, denominators: Mapping[str, float], *, is_last: bool) -> Any:
        """The model's output for one micro-batch of a step."""
        return model(batch, denominators)

    def evaluate(self, model: nn.Module, batch: MaskedBatch, denominators: Mapping[str, float]) -> Any:
        """The model's output with scores, inside :meth:`whole`."""
        return model(batch, denominators, is_scored=True)

    def reduce(self, parameters: Sequence[nn.Parameter], failure: BaseException | None = None) -> None:
        """Gradients become those of the whole step.

        Raises:
            RunStopped: another rank failed; ``failure`` itself where it was this one.
        """
        if failure is None and self.ranks.world == 1:
            return
        failed, *is_used = self.ranks.largest([failure is not None, *(p.grad is not None for p in parameters)])
        if failure is not None:
            raise failure
        if failed:
            raise told(RunStopped("another rank failed; its message says why"))
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
        """() of all gradients together, the same on every rank."""
        return get_total_norm(gradients)

    @contextmanager
    def whole(self, model: nn.Module) -> Generator[None]:
        """Inside the ``with`` block a rank may run the model without the others."""
        yield


def _finish(work: Any, flat: Tensor, tensors: Sequence[Tensor]) -> None:
    work.wait()
    _copy_back(flat, tensors)


def _copy_back(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    parts = flat.split([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


def _buckets(tensors: Iterable[Any]) -> list[list[Any]]:
    """Tensors of one type each, in order, about ``BUCKET_BYTES`` together."""
    open_: dict[torch.dtype, list[Any]] = {}
    done: list[list[Any]] = []
    for tensor in tensors:
        bucket = open_.setdefault(tensor.dtype, [])
        bucket.append(tensor)
        if sum(held.numel() * held.element_size() for held in bucket) >= BUCKET_BYTES:
            done.append(open_.pop(tensor.dtype))
    return done + list(open_.values())
