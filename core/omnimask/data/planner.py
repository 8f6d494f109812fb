"""Cuts the endless stream of samples into optimiser steps and micro-batches, before anything is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from omnimask.data.order import StreamOrder


@dataclass(frozen=True)
class Place:
    """One visit of one sample: what a worker receives.

    Args:
        epoch: how often the whole data set was seen before.
        position: place in the epoch's order, in ``[0, samples per epoch)``.
        index: data set index of the sample that lies there.
        progress: share of the run done, in [0, 1).
    """

    epoch: int
    position: int
    index: int
    progress: float


@dataclass(frozen=True)
class Cursor:
    """Where in the stream the next step starts: the whole state of the loader. ``dataclasses.asdict`` gives its JSON."""

    epoch: int = 0
    position: int = 0


@dataclass(frozen=True)
class StepPlan:
    """The samples of one optimiser step, cut into micro-batches; ``after`` is where the next step starts."""

    step: int
    micro_batches: tuple[tuple[Place, ...], ...]
    after: Cursor

    @property
    def places(self) -> tuple[Place, ...]:
        """All visits of this step, in the order of the stream."""
        return tuple(place for micro_batch in self.micro_batches for place in micro_batch)

    def share(self, rank: int, world: int) -> tuple[tuple[Place, ...], ...]:
        """The micro-batches that one of ``world`` ranks computes: every ``world``-th one.

        Raises:
            ValueError: a rank would have nothing to do.
        """
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} does not exist among {world}")
        if len(self.micro_batches) < world:
            raise ValueError(
                f"step {self.step} has {len(self.micro_batches)} micro-batches for {world} devices; "
                "lower train.micro_batch_tokens, raise train.batch_tokens, or use fewer devices"
            )
        return self.micro_batches[rank::world]


class Planner:
    """Steps as a pure function of (step, cursor): contiguous ranges of the stream, which cross the borders of epochs.

    A step takes as many samples as fit into ``batch_tokens``, a micro-batch as many as fit into ``micro_batch_tokens``, each at
    least one: a sample larger than the budget gets a step of its own. Nothing depends on ranks or workers.

    Args:
        order: which sample lies where.
        counts: tokens per sample before masking: one number for all, or (data set length,) numbers by data set index.
        batch_tokens: tokens per optimiser step, over all ranks.
        micro_batch_tokens: tokens per forward pass.
        steps: optimiser steps of the whole run; a place in step s has progress s / steps.
    """

    def __init__(
        self, order: StreamOrder, counts: int | NDArray[np.integer], batch_tokens: int, micro_batch_tokens: int, steps: int
    ) -> None:
        if min(batch_tokens, micro_batch_tokens, steps) < 1:
            raise ValueError(
                f"batch_tokens {batch_tokens}, micro_batch_tokens {micro_batch_tokens} and steps {steps} must be at least 1"
            )
        if not isinstance(counts, int | np.integer) and len(counts) <= order.indices.max():
            raise ValueError(f"counts has {len(counts)} entries, but the order visits data set index {order.indices.max()}")
        self.order = order
        self.counts = counts
        self.batch_tokens = batch_tokens
        self.micro_batch_tokens = micro_batch_tokens
        self.steps = steps

    def step(self, step: int, cursor: Cursor) -> StepPlan:
        """The plan of one step, in ``[0, steps)``, that starts at ``cursor``."""
        if not 0 <= step < self.steps:
            raise ValueError(f"step {step} lies outside a run of {self.steps} steps")
        places: list[Place] = []
        sizes: list[int] = []
        total, progress = 0, step / self.steps
        epoch, position = cursor.epoch, cursor.position
        while True:
            index = self.order.index(epoch, position)
            size = self._size(index)
            if places and total + size > self.batch_tokens:
                return StepPlan(step, _cut(places, sizes, self.micro_batch_tokens), Cursor(epoch, position))
            places.append(Place(epoch, position, index, progress))
            sizes.append(size)
            total += size
            position += 1
            if position == self.order.num_samples:
                epoch, position = epoch + 1, 0

    def _size(self, index: int) -> int:
        """Tokens of a sample; at least 1, so that every step ends even where samples are empty."""
        return max(1, int(self.counts if isinstance(self.counts, int | np.integer) else self.counts[index]))


def _cut(places: Sequence[Place], sizes: Sequence[int], budget: int) -> tuple[tuple[Place, ...], ...]:
    """Contiguous parts, each with as many samples as fit into ``budget``, at least one."""
    parts: list[list[Place]] = [[]]
    total = 0
    for place, size in zip(places, sizes, strict=True):
        if parts[-1] and total + size > budget:
            parts.append([])
            total = 0
        parts[-1].append(place)
        total += size
    return tuple(map(tuple, parts))
