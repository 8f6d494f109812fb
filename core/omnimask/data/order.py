"""The order in which a run visits its samples: one endless stream, a pure function of the seed."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_KEPT_EPOCHS = 2


class StreamOrder:
    """Which sample lies at a position of an epoch: every epoch is a permutation of its own, keyed by (seed, epoch).

    Args:
        num_samples: samples per epoch, more than 0.
        seed: the run's seed.
        indices: (num_samples,) data set indices that are permuted, the training part of a split say; None means
            ``0 .. num_samples - 1``.
    """

    def __init__(self, num_samples: int, seed: int, indices: ArrayLike | None = None) -> None:
        self.indices: NDArray[np.int64] = np.arange(num_samples) if indices is None else np.array(indices, np.int64)
        if num_samples < 1:
            raise ValueError("there are no samples to put in order; is the data set empty, or all of it held out?")
        if self.indices.shape != (num_samples,):
            raise ValueError(f"num_samples is {num_samples}, but indices has shape {self.indices.shape}")
        self.num_samples = num_samples
        self.seed = seed
        self._epochs: OrderedDict[int, NDArray[np.int64]] = OrderedDict()

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """(num_samples,) data set indices in the order of one epoch, which starts from 0."""
        if epoch < 0:
            raise ValueError(f"epochs count from 0, got {epoch}")
        if epoch not in self._epochs:
            generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((self.seed % 2**64, epoch))))
            self._epochs[epoch] = self.indices[generator.permutation(self.num_samples)]
            while len(self._epochs) > _KEPT_EPOCHS:
                self._epochs.popitem(last=False)
        return self._epochs[epoch]

    def index(self, epoch: int, position: int) -> int:
        """Data set index of the sample at ``position``, in ``[0, num_samples)``, of an epoch."""
        if not 0 <= position < self.num_samples:
            raise ValueError(f"position {position} lies outside an epoch of {self.num_samples} samples")
        return int(self.epoch(epoch)[position])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_epochs": OrderedDict()}
