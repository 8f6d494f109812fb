"""Loader of planned steps with any number of worker processes. Its output depends on the plan alone."""

from __future__ import annotations

import dataclasses
import logging
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any, TypeAlias, cast

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from omnimask.data.planner import Cursor, Place, Planner, StepPlan
from omnimask.data.worker_processes import ignore_signals, start_method
from omnimask.errors import RunStopped
from omnimask.interfaces import MaskedBatch
from omnimask.packed import pin_memory
from omnimask.remote import retries
from omnimask.transport.parcel import Parcel, parcel

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BadSample:
    """Unreadable sample, left out of a batch: its key, the visit, and the reason.

    ``trace`` is the traceback of an exception that no reader should raise; empty for ``OSError`` and ``ValueError``.
    """

    key: str
    epoch: int
    position: int
    reason: str
    trace: str = ""


@dataclass(frozen=True)
class LoadedBatch:
    """Output of a pipeline for the places of one micro-batch.

    ``batch`` is None if all of its samples were bad; ``retries`` is the number of repeated reads.
    """

    batch: MaskedBatch | None
    bad: tuple[BadSample, ...] = ()
    retries: int = 0

    def pin_memory(self) -> LoadedBatch:
        """Return a copy in page-locked memory, for asynchronous copies to a CUDA device."""
        return pin_memory(self)


@dataclass(frozen=True)
class LoadedStep:
    """One rank's data for one step: ``batches`` without empty micro-batches; ``after`` is the start of the next step."""

    step: int
    batches: list[MaskedBatch]
    bad: tuple[BadSample, ...]
    after: Cursor
    retries: int = 0


Pipeline = Callable[[Sequence[Place]], LoadedBatch]
_Delivered: TypeAlias = LoadedBatch | Parcel[LoadedBatch] | RunStopped
"""Micro-batch as it leaves torch's loader: in one buffer from a worker, and as it is from this process or once it is pinned."""


class Loader:
    """Iterator over :class:`LoadedStep` from ``first_step`` to ``last_step``, both included; steps count from 0.

    The plan is made in this process. Workers receive places and return batches in order, so the steps are the same for any
    ``workers``. Closing the iterator early ends the workers.

    Args:
        pipeline: picklable; converts the places of a micro-batch to a batch. It records bad samples itself. Its exceptions are bugs
            and propagate with their traceback.
        planner: splits the stream into steps.
        workers: processes; 0 reads in this process.
        start: cursor of ``first_step``.
        last_step: None means the last step of the planner's run.
        rank, world: share of every step to read.
        pin_memory: page-locked tensors, for CUDA devices only.

    Raises:
        RunStopped: during iteration, if a worker process dies or the pipeline raises it.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        planner: Planner,
        *,
        workers: int,
        start: Cursor,
        first_step: int,
        last_step: int | None = None,
        rank: int = 0,
        world: int = 1,
        pin_memory: bool = False,
    ) -> None:
        self.pipeline = pipeline
        self.planner = planner
        self.workers = workers
        self.start = start
        self.first_step = first_step
        self.last_step = planner.steps - 1 if last_step is None else last_step
        self.rank = rank
        self.world = world
        self.pin_memory = pin_memory

    def __iter__(self) -> Iterator[LoadedStep]:
        planned: deque[tuple[StepPlan, int]] = deque()
        before = retries.take()  # from scanning the data; counted with the first step
        iterator = self._start(self._micro_batches(planned))
        processes = list(getattr(iterator, "_workers", []))
        try:
            for _ in range(self.first_step, self.last_step + 1):
                first = _received(next(iterator))
                plan, num_micro_batches = planned.popleft()
                loaded = [first, *(_received(next(iterator)) for _ in range(num_micro_batches - 1))]
                batches = [item.batch for item in loaded if item.batch is not None]
                bad = tuple(bad for item in loaded for bad in item.bad)
                yield LoadedStep(plan.step, batches, bad, plan.after, before + sum(item.retries for item in loaded))
                before = 0
        except RunStopped:
            raise
        except (RuntimeError, OSError, EOFError) as error:
            dead = _dead(processes) if processes else []
            if not dead:
                raise
            raise RunStopped(
                f"data loader worker {', '.join(dead)} died while reading samples; exit code -9 usually means out "
                "of memory: lower train.workers or train.micro_batch_tokens, then resume"
            ) from error
        finally:
            _stop(iterator, processes)

    def _micro_batches(self, planned: deque[tuple[StepPlan, int]]) -> Iterator[tuple[Place, ...]]:
        """Yield the places of every micro-batch of this rank. Append each plan to ``planned`` with its number of micro-batches."""
        cursor = self.start
        for step in range(self.first_step, self.last_step + 1):
            plan = self.planner.step(step, cursor)
            share = plan.share(self.rank, self.world)
            planned.append((plan, len(share)))
            yield from share
            cursor = plan.after

    def _start(self, micro_batches: Iterator[tuple[Place, ...]]) -> Iterator[_Delivered]:
        """Start the workers and undo torch's signal handler for dead workers.

        The handler would raise anywhere in the program. Without it, a death surfaces here, at the request for the next batch.
        """
        loader = DataLoader(
            _ByPlaces(self.pipeline),
            batch_size=None,
            sampler=cast(Any, micro_batches),
            num_workers=self.workers,
            collate_fn=cast(Any, _unchanged),
            worker_init_fn=_prepare_worker,
            multiprocessing_context=start_method() if self.workers else None,
            pin_memory=self.pin_memory,
            generator=torch.Generator(),  # torch's global generator stays untouched
        )
        is_main_thread = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGCHLD) if is_main_thread and hasattr(signal, "SIGCHLD") else None
        iterator = iter(loader)
        if before is not None:
            signal.signal(signal.SIGCHLD, before)
        return cast("Iterator[_Delivered]", iterator)


class _ByPlaces(Dataset["_Delivered"]):
    """Adapter for torch's loader: indexes the pipeline by the places of a micro-batch.

    A reason to stop the run is returned, since torch would raise it with a traceback as its message.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def __getitem__(self, places: Sequence[Place]) -> _Delivered:
        try:
            loaded = self.pipeline(places)
        except RunStopped as error:
            return error
        if count := retries.take():
            loaded = dataclasses.replace(loaded, retries=count)
        return loaded if get_worker_info() is None else parcel(loaded)


def _unchanged(delivered: _Delivered) -> _Delivered:
    return delivered


def _received(delivered: _Delivered) -> LoadedBatch:
    if isinstance(delivered, RunStopped):
        raise delivered
    return delivered.open() if isinstance(delivered, Parcel) else delivered


def _prepare_worker(worker: int) -> None:
    """Limit the worker to one thread, and prepare it like every worker."""
    torch.set_num_threads(1)
    ignore_signals()


def _dead(processes: Sequence[Any]) -> list[str]:
    """Return the workers that ended, with their exit codes. Workers never end on their own while steps are read.

    A death shows as one of several errors (torch's own, or a broken connection in the middle of a batch), sometimes before the
    process is gone: hence the wait.
    """
    ended = wait([process.sentinel for process in processes], timeout=1.0)
    for process in processes:
        if process.sentinel in ended:  # its end of a pipe is closed, but it may have no exit code yet
            process.join(timeout=5.0)
    return [f"{process.pid} (exit code {process.exitcode})" for process in processes if process.exitcode is not None]


def _stop(iterator: Any, processes: Sequence[Any]) -> None:
    """End the workers now. Otherwise the traceback of an exception would keep the iterator and its workers alive."""
    if not processes:
        return
    iterator._shutdown_workers()
    for process in processes:
        if process.is_alive():
            logger.warning("data loader worker %s did not exit and was killed", process.pid)
            process.kill()
        process.join()
