"""Planner: splits the endless stream of samples into optimizer steps, ranks' shares and micro-batches, before decoding.

n samples of one step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from omnimask.data.order import Order
from omnimask.data.training_indices import tokens_in

_FIRST_GUESS = 256
"""Initial number of samples to look at if their sizes differ. Later steps start from the size of the last one."""


@dataclass(frozen=True)
class Place:
    """One visit of one sample. Workers receive places.

    Args:
        epoch: number of completed passes over the data set.
        position: place in the epoch's order, in ``[0, samples per epoch)``.
        index: data set index of the sample at this position.
        progress: completed share of the run, in [0, 1).
    """

    epoch: int
    position: int
    index: int
    progress: float


@dataclass(frozen=True)
class Cursor:
    """Start of the next step in the stream: the whole state of the loader. ``dataclasses.asdict`` returns its JSON."""

    epoch: int = 0
    position: int = 0


@dataclass(frozen=True, eq=False)
class StepPlan:
    """Samples of one optimizer step, in the order of the stream.

    Args:
        step: counts from 0.
        epochs, positions, indices: (n,) of the visits, as in :class:`Place`.
        sizes: (n,) tokens, at least 1 each.
        micro_batch_tokens: maximum number of tokens in a micro-batch.
        progress: completed share of the run, in [0, 1).
        after: start of the next step.
        ends: (g,) end of each group of samples that must stay together, ascending up to n; None if every sample is its own group.
    """

    step: int
    epochs: NDArray[np.int64]
    positions: NDArray[np.int64]
    indices: NDArray[np.int64]
    sizes: NDArray[np.int64]
    micro_batch_tokens: int
    progress: float
    after: Cursor
    ends: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StepPlan) and (self.micro_batches, self.after) == (other.micro_batches, other.after)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    @property
    def places(self) -> tuple[Place, ...]:
        """All visits of this step."""
        return self._places(0, len(self))

    @property
    def micro_batches(self) -> tuple[tuple[Place, ...], ...]:
        """The micro-batches of a single rank."""
        return self.share(0, 1)

    def share(self, rank: int, world: int) -> tuple[tuple[Place, ...], ...]:
        """Return the micro-batches of one of ``world`` ranks.

        Every rank gets a contiguous range of the step with about the same number of tokens: its share differs from the mean by less
        than the largest group. All ranks get the same number of micro-batches, as far as their numbers of groups allow.

        Raises:
            ValueError: a rank would have no samples.
        """
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} must be less than the world size {world}")
        starts, sizes = self._groups()
        if len(sizes) < world:
            what = "samples" if self.ends is None else "groups of samples"
            raise ValueError(
                f"step {self.step} has {len(sizes)} {what} for {world} devices; raise train.batch_tokens, or use fewer devices"
            )
        bounds = balanced(sizes, world)
        parts = [_cut(sizes, start, stop, self.micro_batch_tokens) for start, stop in pairwise(bounds)]
        chosen = _divided(parts[rank], max(map(len, parts)))
        return tuple(self._places(starts[start], starts[stop]) for start, stop in chosen)

    def _groups(self) -> tuple[Sequence[int], NDArray[np.int64]]:
        """Return the (g + 1,) bounds of the groups, and the (g,) tokens of each."""
        if self.ends is None:
            return range(len(self) + 1), self.sizes
        starts = np.concatenate([np.zeros(1, np.int64), self.ends])
        return starts.tolist(), np.add.reduceat(self.sizes, starts[:-1])

    def _places(self, start: int, stop: int) -> tuple[Place, ...]:
        epochs, positions, indices = (column[start:stop].tolist() for column in (self.epochs, self.positions, self.indices))
        return tuple(Place(*visit, self.progress) for visit in zip(epochs, positions, indices, strict=True))


class Planner:
    """Steps as a pure function of (step, cursor): contiguous ranges of the stream, which may cross epoch boundaries.

    A step takes as many groups as fit into ``batch_tokens``, a micro-batch as many as fit into ``micro_batch_tokens``, each at
    least one. A group larger than the budget gets a step of its own. Nothing depends on ranks or workers.

    Args:
        order: of the samples.
        counts: tokens per sample before masking: one number for all, or (data set length,) numbers by data set index.
        batch_tokens: tokens per optimizer step, over all ranks.
        micro_batch_tokens: tokens per forward pass.
        steps: optimizer steps of the whole run; a place in step s has progress s / steps.
        group: number of consecutive positions of an epoch, counted from its first, in a group. Groups are never split. The last one
            of an epoch may be smaller.
    """

    def __init__(
        self,
        order: Order,
        counts: int | NDArray[np.integer],
        batch_tokens: int,
        micro_batch_tokens: int,
        steps: int,
        *,
        group: int = 1,
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
        self.group = group
        self._guess = _FIRST_GUESS if isinstance(counts, np.ndarray) else batch_tokens // max(1, int(counts)) + 1

    def step(self, step: int, cursor: Cursor) -> StepPlan:
        """Return the plan of one step, in ``[0, steps)``, that starts at ``cursor``."""
        if not 0 <= step < self.steps:
            raise ValueError(f"step {step} is outside a run of {self.steps} steps")
        found = self._look(cursor, self._guess)
        ends, tokens = self._ends(found)
        while not len(tokens) or tokens[-1] <= self.batch_tokens:
            found = self._look(cursor, 2 * len(found[3]))
            ends, tokens = self._ends(found)
        epochs, positions, indices, sizes = found
        groups = max(1, int(np.searchsorted(tokens, self.batch_tokens, side="right")))
        count = int(ends[groups - 1])
        self._guess = count + count // 8 + 2 * self.group
        epoch, position = int(epochs[count - 1]), int(positions[count - 1]) + 1
        after = Cursor(epoch, position) if position < self.order.num_samples else Cursor(epoch + 1, 0)
        return StepPlan(
            step,
            *(column[:count] for column in (epochs, positions, indices, sizes)),
            micro_batch_tokens=self.micro_batch_tokens,
            progress=step / self.steps,
            after=after,
            ends=ends[:groups] if self.group > 1 else None,
        )

    def _ends(self, found: tuple[NDArray[np.int64], ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the (g,) ends of the whole groups among some visits, and the (g,) cumulative tokens."""
        _, positions, _, sizes = found
        tokens = np.cumsum(sizes)
        if self.group == 1:
            return np.arange(1, len(sizes) + 1), tokens
        ends = np.flatnonzero(((positions + 1) % self.group == 0) | (positions + 1 == self.order.num_samples)) + 1
        return ends, tokens[ends - 1]

    def check_world(self, world: int) -> None:
        """Check that every rank has work at every step, for any order.

        Raises:
            ValueError: a step could have fewer samples than ranks.
        """
        largest = max(
            1, int(self.counts) if isinstance(self.counts, int | np.integer) else tokens_in(self.counts, self.order.indices)[2]
        )
        largest *= self.group
        what, whats = ("sample has", "samples") if self.group == 1 else (f"group of {self.group} samples may have", "groups")
        if self.batch_tokens // largest < world:
            raise ValueError(
                f"the largest {what} {largest} tokens, so a step of {self.batch_tokens} tokens may have only "
                f"{max(1, self.batch_tokens // largest)} {whats} for {world} devices; raise train.batch_tokens to "
                f"{largest * world}, or use fewer devices"
            )

    def _look(self, cursor: Cursor, count: int) -> tuple[NDArray[np.int64], ...]:
        """Return epochs, positions, indices and sizes, (count,) each, of the ``count`` visits from a cursor on."""
        num_samples = self.order.num_samples
        flat = cursor.position + np.arange(count)
        epochs, positions = cursor.epoch + flat // num_samples, flat % num_samples
        indices = np.concatenate([self.order.take(*part) for part in _by_epoch(cursor, count, num_samples)])
        sizes = np.full(count, self.counts) if isinstance(self.counts, int | np.integer) else self.counts[indices]
        return epochs, positions, indices, np.maximum(1, sizes.astype(np.int64))


def balanced(sizes: NDArray[np.int64], parts: int) -> list[int]:
    """Return (parts + 1,) bounds of contiguous non-empty ranges of similar size. There must be at least ``parts`` sizes."""
    ends = np.concatenate([[0], np.cumsum(sizes)])
    wanted = ends[-1] * np.arange(parts + 1) / parts
    after = np.searchsorted(ends, wanted).clip(1)
    bounds = np.where(wanted - ends[after - 1] <= ends[after] - wanted, after - 1, after)  # the nearest end
    # no range may be empty: bounds must ascend by at least 1 each, and leave one size for every later range
    number = np.arange(parts + 1)
    bounds = np.maximum.accumulate(bounds - number) + number
    return np.minimum(bounds, len(sizes) - parts + number).tolist()


def _by_epoch(cursor: Cursor, count: int, num_samples: int) -> list[tuple[int, int, int]]:
    """Return the (epoch, start, stop) ranges of the ``count`` visits from a cursor on."""
    ranges: list[tuple[int, int, int]] = []
    epoch, position = cursor.epoch, cursor.position
    while count:
        taken = min(count, num_samples - position)
        ranges.append((epoch, position, position + taken))
        count, epoch, position = count - taken, epoch + 1, 0
    return ranges


def _cut(sizes: NDArray[np.int64], start: int, stop: int, budget: int) -> list[tuple[int, int]]:
    """Split ``[start, stop)`` into contiguous parts, each with as many samples as fit into ``budget``, at least one."""
    ends = np.cumsum(sizes[start:stop])
    parts: list[tuple[int, int]] = []
    first, used = 0, 0
    while first < len(ends):
        last = max(first + 1, int(np.searchsorted(ends, used + budget, side="right")))
        parts.append((start + first, start + last))
        first, used = last, int(ends[last - 1])
    return parts


def _divided(parts: Sequence[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """Return ``count`` parts, made by halving those with most samples; fewer if every part has one sample."""
    found = list(parts)
    while len(found) < count:
        start, stop = found[number := max(range(len(found)), key=lambda n: found[n][1] - found[n][0])]
        if stop - start < 2:
            break
        middle = (start + stop) // 2
        found[number : number + 1] = [(start, middle), (middle, stop)]
    return found
