"""A network that follows another one by an exponential moving average."""

from __future__ import annotations

import copy
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from omnimask.interfaces import Context
from omnimask.interfaces.schedules import Ratio, ValueSchedule
from omnimask.network.network import Network


class Average(Network):
    """The exponential moving average of another network, its embeddings included: the teacher of data2vec [0] and I-JEPA [1].

    It has no weights to train, is always in evaluation mode, starts equal to the network it follows, and takes one step after every
    update of the optimizer. It is part of every checkpoint, so a resumed run continues it bit for bit.

    Args:
        follows: name of the network.
        decay: share of the average that stays at an update, in (0, 1], or a schedule of it over the run.

    [0] Baevski et al.: data2vec: A General Framework for Self-supervised Learning in Speech, Vision and Language, 2022. [1] Assran
    et al.: Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture, 2023.
    """

    is_trained: ClassVar[bool] = False

    def __init__(
        self,
        context: Context,
        *,
        follows: str = "main",
        decay: Annotated[Ratio, Field(description="share that stays at an update, or a schedule of it")] = 0.999,
    ) -> None:
        if follows not in context.networks:
            raise ValueError(f"network {follows!r} does not exist; earlier networks: {', '.join(context.networks)}")
        source = context.networks[follows]
        assert isinstance(source, Network)
        super().__init__(
            {name: copy.deepcopy(part) for name, part in source.embeddings.items()},
            copy.deepcopy(source.encoder),
            embedding_width=source.embedding_width,
        )
        self.adapt = copy.deepcopy(source.adapt)
        self.requires_grad_(False)
        self.decay = decay
        # A tuple keeps the other network out of this one's parameters.
        self._source = (source,)
        self.eval()

    def train(self, mode: bool = True) -> Average:
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def settle(self) -> None:
        """Start from the present weights of the network it follows."""
        for own, theirs in self._pairs():
            own.copy_(theirs)

    @torch.no_grad()
    def after_update(self, progress: float) -> None:
        """Move towards the present weights: ``average <- decay * average + (1 - decay) * weights``.

        Args:
            progress: share of the run at this update, in [0, 1], for a scheduled decay.
        """
        decay = self.decay.at(progress) if isinstance(self.decay, ValueSchedule) else self.decay
        own, theirs = zip(*self._pairs(), strict=True)
        get_ema_multi_avg_fn(decay)(list(own), list(theirs), None)

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        """Return the tensors of both networks, this rank's shares if they are sharded."""
        pairs = zip(self.parameters(), self._source[0].parameters(), strict=True)
        return [(_local(own), _local(theirs)) for own, theirs in pairs]


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor.detach()
