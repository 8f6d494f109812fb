"""A network that follows another one by an exponential moving average."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch.optim.swa_utils import get_ema_multi_avg_fn

from omnimask.interfaces import Context
from omnimask.interfaces.schedules import Ratio, ValueSchedule
from omnimask.network.network import Network, UntrainedNetwork


class Average(UntrainedNetwork):
    """The exponential moving average of another network, its embeddings included: the teacher of data2vec [0] and I-JEPA [1].

    It has no weights to train, is always in evaluation mode, starts equal to the network it follows, and takes one step after every
    update of the optimizer. It is part of every checkpoint, so a resumed run continues it bit for bit.

    Args:
        follows: name of the network.
        decay: share of the average that stays at an update, in (0, 1], or a schedule of it over the run.

    [0] Baevski et al.: data2vec: A General Framework for Self-supervised Learning in Speech, Vision and Language, 2022. [1] Assran
    et al.: Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture, 2023.
    """

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
        super().__init__(source, tuple(source.embeddings))
        self.decay = decay
        # A tuple keeps the other network out of this one's parameters.
        self._source = (source,)

    def settle(self) -> None:
        """Start from the present weights of the network it follows."""
        self.copy_from(self._source[0])

    @torch.no_grad()
    def after_update(self, progress: float) -> None:
        """Move towards the present weights: ``average <- decay * average + (1 - decay) * weights``.

        Args:
            progress: share of the run at this update, in [0, 1], for a scheduled decay.
        """
        decay = self.decay.at(progress) if isinstance(self.decay, ValueSchedule) else self.decay
        own, theirs = zip(*self.pairs(self._source[0]), strict=True)
        get_ema_multi_avg_fn(decay)(list(own), list(theirs), None)
