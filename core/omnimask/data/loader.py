"""Reads planned steps with any number of worker processes; what comes out depends on the plan alone."""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, Dataset

from omnimask.data import retries
from omnimask.data.planner import Cursor, Place, Planner, StepPlan
from omnimask.errors import RunStopped
from omnimask.interfaces import MaskedBatch
from omnimask.packed import pin_memory

logger = logging.getLogger(__name__)

_WATCH = 1.0
"""Seconds between two looks of a worker at its parent."""


@dataclass(frozen=True)
class BadSample:
    """A sample that could not be read and was left out: its key, the visit, and why.

    ``trace`` is the traceback of an exception that no reader should raise; empty for ``OSError`` and ``ValueError``.
    """

    key: str
    epoch: int
    position: int
    reason: str
    trace: str = ""


@dataclass(frozen=True)
class LoadedBatch:
    """What a pipeline makes of one micro-batch of places: ``batch`` is None when all of its samples were bad; ``retries`` is how
    often reading was tried again."""

    batch: MaskedBatch | None
    bad: tuple[BadSample, ...] = ()
    retries: int = 0

    def pin_memory(self) -> LoadedBatch:
        """The same with its tensors in page-locked memory, for copies to a CUDA device that do not wait."""
        return pin_memory(self)


@dataclass(frozen=True)
class LoadedStep:
    """What one rank computes in one step: ``batches`` without empty micro-batches; ``after`` is where the next step starts."""

    step: int
    batches: list[MaskedBatch]
    bad: tuple[BadSample, ...]
    after: Cursor
    retries: int = 0


Pipeline = Callable[[Sequence[Place]], LoadedBatch]


class Loader:
    """Iterates :class:`LoadedStep` from ``first_step`` to ``last_step``, both included; steps count from 0.

    The plan is made in this process; workers receive places and return batches in order, so the steps are the same for any
    ``workers``. Closing the iterator early ends the workers.

    Args:
        pipeline: picklable; turns the places of a micro-batch into a batch. It records bad samples itself: what it raises is a
            bug and propagates with its traceback.
        planner: cuts the stream into steps.
        workers: processes; 0 reads in this process.
        start: cursor of ``first_step``.
        last_step: None means the last step of the planner's run.
        rank, world: which share of every step is read.
        pin_memory: page-locked tensors, for CUDA devices only.

    Raises:
        RunStopped: while iterating, when a worker process dies, or when the pipeline raises it.
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
        before = retries.take()  # while the data were looked through: the first step's
        iterator = self._start(self._micro_batches(planned))
        processes = list(getattr(iterator, "_workers", []))
        try:
            for _ in range(self.first_step, self.last_step + 1):
                first = _checked(next(iterator))
                plan, num_micro_batches = planned.popleft()
                loaded = [first, *(_checked(next(iterator)) for _ in range(num_micro_batches - 1))]
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
                f"data loader worker {', '.join(dead)} died while it read samples; exit code -9 usually means that memory "
                "ran out: lower train.workers or train.micro_batch_tokens, then resume"
            ) from error
        finally:
            _stop(iterator, processes)

    def _micro_batches(self, planned: deque[tuple[StepPlan, int]]) -> Iterator[tuple[Place, ...]]:
        """The places of every micro-batch of this rank; what was planned is remembered with its number of micro-batches."""
        cursor = self.start
        for step in range(self.first_step, self.last_step + 1):
            plan = self.planner.step(step, cursor)
            share = plan.share(self.rank, self.world)
            planned.append((plan, len(share)))
            yield from share
            cursor = plan.after

    def _start(self, micro_batches: Iterator[tuple[Place, ...]]) -> Iterator[LoadedBatch | RunStopped]:
        """Starts the workers. torch would answer a worker's death from a signal handler, anywhere in the program: that is undone,
        so that it surfaces here, when the next batch is asked for."""
        loader = DataLoader(
            _ByPlaces(self.pipeline),
            batch_size=None,
            sampler=cast(Any, micro_batches),
            num_workers=self.workers,
            collate_fn=cast(Any, _unchanged),
            worker_init_fn=_prepare_worker,
            multiprocessing_context=_context() if self.workers else None,
            pin_memory=self.pin_memory,
            generator=torch.Generator(),  # torch's global generator stays untouched
        )
        is_main_thread = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGCHLD) if is_main_thread and hasattr(signal, "SIGCHLD") else None
        iterator = iter(loader)
        if before is not None:
            signal.signal(signal.SIGCHLD, before)
        return cast("Iterator[LoadedBatch | RunStopped]", iterator)


class _ByPlaces(Dataset["LoadedBatch | RunStopped"]):
    """Lets torch's loader index the pipeline by the places of a micro-batch.

    A reason to stop the run is returned, since torch would raise it with a traceback for a message.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def __getitem__(self, places: Sequence[Place]) -> LoadedBatch | RunStopped:
        try:
            loaded = self.pipeline(places)
        except RunStopped as error:
            return error
        count = retries.take()
        return dataclasses.replace(loaded, retries=count) if count else loaded


def _unchanged(loaded: LoadedBatch | RunStopped) -> LoadedBatch | RunStopped:
    return loaded


def _checked(loaded: LoadedBatch | RunStopped) -> LoadedBatch:
    if isinstance(loaded, RunStopped):
        raise loaded
    return loaded


def _context() -> str | None:
    return "fork" if "fork" in multiprocessing.get_all_start_methods() else None


def _prepare_worker(worker: int) -> None:
    """One thread per worker; the main process alone answers signals, which a terminal or a scheduler sends to the whole group."""
    if (parent := multiprocessing.parent_process()) is not None and parent.pid is not None:
        threading.Thread(target=_end_with, args=(parent.pid,), daemon=True).start()
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _end_with(parent: int) -> None:
    """End this process when its parent is gone.

    torch's workers remember the parent that they find when they begin to serve, and so outlive one that was killed before.
    """
    while os.getppid() == parent:
        time.sleep(_WATCH)
    os._exit(1)


def _dead(processes: Sequence[Any]) -> list[str]:
    """The workers that ended, with their exit codes; none does so by itself while steps are read.

    A death shows as one of several errors (torch's own, or a connection that breaks in the middle of a batch), sometimes before
    the process is gone: hence the wait.
    """
    ended = wait([process.sentinel for process in processes], timeout=1.0)
    for process in processes:
        if process.sentinel in ended:  # its end of a pipe is closed, but it may have no exit code yet
            process.join(timeout=5.0)
    return [f"{process.pid} (exit code {process.exitcode})" for process in processes if process.exitcode is not None]


def _stop(iterator: Any, processes: Sequence[Any]) -> None:
    """Ends the workers now: an exception's traceback would otherwise keep the iterator, and so them, alive."""
    if not processes:
        return
    iterator._shutdown_workers()
    for process in processes:
        if process.is_alive():
            logger.warning("data loader worker %s did not end by itself and was killed", process.pid)
            process.kill()
        process.join()
