"""Processes that train together and their collective operations. The default is a single process.

Host numbers are exchanged over gloo on any device; :mod:`omnimask.training.devices.replicas` exchanges gradients.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from omnimask.errors import BrokenContract, Interrupted, NothingToLearn, RunStopped, UserError

logger = logging.getLogger(__name__)

T = TypeVar("T")

Name: TypeAlias = tuple[str, ...]
"""Name of a number to sum over ranks."""

SETUP = timedelta(days=1)
"""Timeout before the first step, while one process may still be scanning a large data set."""
_PATIENCE = 3.0
"""Seconds for the remaining processes to report after one is lost."""
_KINDS: Sequence[type[Exception]] = (BrokenContract, NothingToLearn, RunStopped, UserError)  # the first that fits
_BROKEN = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "timed out", "broken pipe")
"""Parts of torch's error messages, in lower case, for a lost or unresponsive process."""


class Ranks:
    """Single process: rank 0 of 1. Base class of :class:`Joined`.

    Attributes:
        rank, world: index of this process and number of processes.
        local_rank: index on this machine, and of its device.
    """

    rank = 0
    world = 1
    local_rank = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes and displays the shared output."""
        return self.rank == 0

    def open(self, device: torch.device, seconds: float) -> None:
        """Create the process groups for training, with a timeout of ``seconds``."""

    def sums(self, values: Mapping[Name, float], failure: Exception | None = None, *, kind: str = "step") -> dict[Name, float]:
        """Sum over all ranks by name. Names may differ by rank.

        Args:
            values: of this rank.
            failure: error of this rank; stops all ranks.
            kind: of the values; the names of one kind are nearly the same every time.

        Raises:
            RunStopped: a rank failed.
        """
        if failure is not None:
            raise failure
        return dict(values)

    def largest(self, values: Sequence[int]) -> list[int]:
        """Return the elementwise maximum over all ranks. Values must be at least 0."""
        return list(values)

    def gathered(self, value: T) -> list[T]:
        """Return the values of all ranks, in rank order."""
        return [value]

    def agree(self, error: Exception | None) -> None:
        """Raise if any rank has an error: its own if it has one, else one of the same class. Only one rank displays it."""
        if error is not None:
            raise error

    def first(self, make: Callable[[], T]) -> T:
        """Call ``make`` on rank 0 and return the result on all ranks. An error is raised on all ranks."""
        return make()

    @contextmanager
    def together(self) -> Generator[None]:
        """Synchronize at the end of the ``with`` block: an error on one rank is raised on all."""
        error: Exception | None = None
        try:
            yield
        except tuple(_KINDS) as reason:
            error = reason
        self.agree(error)

    @contextmanager
    def alike(self) -> Generator[None]:
        """Mark an error inside the ``with`` block as shared. All ranks must do the same there; rank 0 displays it."""
        try:
            yield
        except tuple(_KINDS) as reason:
            raise reason if self.is_first else told(reason) from reason

    @contextmanager
    def guarded(self) -> Generator[None]:
        """Convert a broken connection inside the ``with`` block into a ``RunStopped`` with the lost ranks."""
        yield

    def add(self, tensor: torch.Tensor) -> Any:
        """Start an in-place sum of a device tensor over all ranks; ``wait()`` of the result completes it."""
        return _Done()

    def spread(self, tensor: torch.Tensor) -> None:
        """Broadcast rank 0's tensor in place."""


class _Done:
    def wait(self) -> None:
        """Do nothing."""


class Joined(Ranks):
    """One of several processes in torch's process group."""

    def __init__(self, store: Store) -> None:
        self.rank = dist.get_rank()
        self.world = dist.get_world_size()
        self.local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        self._store = store
        self._host: dist.ProcessGroup | None = None  # the default group
        self._device: dist.ProcessGroup | None = None
        self._saving: dist.ProcessGroup | None = None
        self._names: dict[str, list[Name]] = {}

    @property
    def device_group(self) -> dist.ProcessGroup | None:
        """Group for tensors on the device."""
        return self._device

    @property
    def saving_group(self) -> dist.ProcessGroup | None:
        """Group for threads that write checkpoints while the other groups are in use."""
        return self._saving

    def open(self, device: torch.device, seconds: float) -> None:
        patience = timedelta(seconds=seconds)
        self._saving = _group("gloo", patience)
        self._host = _group("gloo", patience)
        self._device = _group("nccl", patience) if device.type == "cuda" else self._host

    def sums(self, values: Mapping[Name, float], failure: Exception | None = None, *, kind: str = "step") -> dict[Name, float]:
        names = self._names.setdefault(kind, [])
        is_new = not values.keys() <= set(names)
        numbers = torch.tensor([failure is not None, is_new, *(values.get(name, 0.0) for name in names)], dtype=torch.float64)
        dist.all_reduce(numbers, group=self._host)
        failed, new, *found = numbers.tolist()
        if failed:
            self.agree(failure)
        if new:
            self._names[kind] = sorted(set().union(*self.gathered([*names, *values])))
            return self.sums(values, kind=kind)
        return dict(zip(names, found, strict=True))

    def largest(self, values: Sequence[int]) -> list[int]:
        numbers = torch.tensor(values, dtype=torch.int32)
        dist.all_reduce(numbers, dist.ReduceOp.MAX, group=self._host)
        return numbers.tolist()

    def gathered(self, value: T) -> list[T]:
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value, group=self._host)
        return found

    def agree(self, error: Exception | None) -> None:
        mine = 0 if error is None else (self.world - self.rank) * (len(_KINDS) + 1) + _kind(error)
        (worst,) = self.largest([mine])
        if not worst:
            return
        rest, kind = divmod(worst, len(_KINDS) + 1)
        culprit = self.world - rest
        if error is not None:
            raise error if culprit == self.rank else told(error)
        raise told(_KINDS[kind](f"rank {culprit} failed; see its message"))

    def first(self, make: Callable[[], T]) -> T:
        value: list[Any] = [None]
        with self.together():
            if self.is_first:
                value = [make()]
        dist.broadcast_object_list(value, 0, group=self._host)
        return value[0]

    @contextmanager
    def guarded(self) -> Generator[None]:
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, RunStopped) or not is_broken(error):
                raise
            gone, shows = self._missing()
            who = (
                (f"rank {', '.join(map(str, gone))} is gone or does not respond")
                if gone
                else "the connection to another rank broke"
            )
            stopped = RunStopped(f"{who} (of {self.world}); earlier checkpoints are intact. Cause: {' '.join(str(error).split())}")
            raise stopped if shows else told(stopped) from error

    def _missing(self) -> tuple[list[int], bool]:
        """Return the missing ranks, and whether this rank is the first of the others."""
        names = {rank: f"omnimask/left/{rank}" for rank in range(self.world)}
        try:
            self._store.set(names[self.rank], "1")
            end = time.monotonic() + _PATIENCE
            while time.monotonic() < end and not self._store.check(list(names.values())):
                time.sleep(0.1)
            left = [rank for rank, name in names.items() if self._store.check([name])]
        except RuntimeError:  # the store is gone too; rank 0's process may have held it
            return [0] if self.rank else [], True
        return [rank for rank in names if rank not in left], self.rank == min(left)

    def add(self, tensor: torch.Tensor) -> Any:
        return dist.all_reduce(tensor, group=self._device, async_op=True)

    def spread(self, tensor: torch.Tensor) -> None:
        dist.broadcast(tensor, 0, group=self._host if tensor.device.type == "cpu" else self._device)


def _group(backend: str, patience: timedelta) -> dist.ProcessGroup:
    made: Any = dist.new_group(backend=backend, timeout=patience)
    return made


def _kind(error: Exception) -> int:
    return next(number for number, kind in enumerate(_KINDS) if isinstance(error, kind))


def is_broken(error: BaseException) -> bool:
    """Return whether a torch error is due to a lost or unresponsive process."""
    message = str(error).lower()
    return isinstance(error, dist.DistError) or any(words in message for words in _BROKEN)


def told(error: Exception) -> Exception:
    """Mark an error as displayed by another rank, and return it."""
    error.is_told = True  # pyright: ignore[reportAttributeAccessIssue]
    return error


def num_processes() -> int:
    """Return the number of processes started together by ``torchrun`` or ``--devices``."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def alone() -> Ranks:
    """Return this process as the only rank.

    Raises:
        UserError: it is one of several.
    """
    if num_processes() > 1:
        raise UserError(f"this is one of {num_processes()} processes; train inside `with omnimask.training.devices.ranks.joined()`")
    return Ranks()


_current: list[Joined] = []


def current() -> Ranks:
    """Return the joined processes, or this process alone.

    Raises:
        UserError: it is one of several not joined to each other.
    """
    return _current[0] if _current else alone()


@contextmanager
def joined() -> Generator[Ranks]:
    """Join the processes started together; yield a single rank if there is only one.

    All processes communicate inside the ``with`` block. A nested block yields the same object.
    """
    if num_processes() == 1:
        yield Ranks()
        return
    if _current:
        yield _current[0]
        return
    store, rank, world = next(rendezvous("env://", timeout=SETUP))
    dist.init_process_group("gloo", store=PrefixStore("omnimask/group", store), rank=rank, world_size=world, timeout=SETUP)
    ranks = Joined(store)
    _current.append(ranks)
    is_broken_off = True
    try:
        with ranks.guarded():
            yield ranks
        is_broken_off = False
    except (UserError, Interrupted):
        is_broken_off = False
        raise
    finally:
        _current.clear()
        if not is_broken_off:  # otherwise a group may wait for one that is gone
            dist.destroy_process_group()
