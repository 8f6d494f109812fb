"""Worker processes of the data pipeline: their set-up, their number, and a function applied to many inputs. Imports no torch."""

from __future__ import annotations

import gc
import math
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, TypeVar

from omnimask.errors import RunStopped

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")

_WATCH = 1.0
"""Seconds between a worker's checks of its parent."""
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Control group, version 2: microseconds of processor time granted per period (or ``max``), and the period."""


def usable_cores() -> int:
    """Return the processors available to this process, by its affinity and its control group's quota."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        allowed = os.cpu_count() or 1
    try:
        granted, period = _QUOTA.read_text().split()
        allowed = min(allowed, max(1, math.ceil(int(granted) / int(period))))
    except (OSError, ValueError):  # the file is missing, or there is no limit
        pass
    return max(1, allowed)


def cores_per_rank() -> int:
    """Return this rank's share of the usable cores, at least 1."""
    return max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def start_method() -> str | None:
    """Return ``fork`` where it exists, so that workers share the data set's memory; None for the system's default."""
    return "fork" if "fork" in multiprocessing.get_all_start_methods() else None


def ignore_signals() -> None:
    """Prepare a worker: end it with its parent, and let the main process alone handle signals sent to the process group."""
    gc.freeze()  # collections need not look at what the main process has loaded: a fifth of the time of tokenizing
    if (parent := multiprocessing.parent_process()) is not None and parent.pid is not None:
        threading.Thread(target=_end_with, args=(parent.pid,), daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _end_with(parent: int) -> None:
    """End this process when its parent is gone.

    torch's workers remember the parent they find when they start serving, so they outlive a parent killed earlier.
    """
    while os.getppid() == parent:
        time.sleep(_WATCH)
    os._exit(1)


def in_processes(function: Callable[[I], R], inputs: Iterable[I], processes: int, doing: str) -> Iterator[tuple[I, R]]:
    """Apply a function in worker processes. Yield each input with its result, in the order of completion.

    Closing the iterator early kills the workers.

    Args:
        function: picklable where processes are not forked.
        inputs: picklable.
        processes: number of workers, at least 1.
        doing: name of the work in messages.

    Raises:
        RunStopped: a worker died.
    """
    context = multiprocessing.get_context(start_method())
    remaining = iter(inputs)
    workers = [_Worker(context, function) for _ in range(processes)]
    busy: dict[Connection, _Worker[I]] = {}

    def give(worker: _Worker[I]) -> None:
        for item in remaining:
            worker.give(item)
            busy[worker.connection] = worker
            return

    try:
        for worker in workers:
            give(worker)
        while busy:
            for ready in wait(list(busy)):
                worker = busy.pop(ready)  # pyright: ignore[reportArgumentType]
                result = worker.take(doing)
                done = worker.item
                give(worker)
                yield done, result
    finally:
        for worker in workers:
            worker.kill()


class _Worker(Generic[I]):
    """Process that serves one input at a time."""

    item: I

    def __init__(self, context: Any, function: Callable[[I], Any]) -> None:
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, function), daemon=True)
        self.process.start()
        other.close()

    def give(self, item: I) -> None:
        self.item = item
        self.connection.send(item)

    def take(self, doing: str) -> Any:
        """Return the result of the current input, or raise the function's exception."""
        try:
            is_done, value = self.connection.recv()
        except (EOFError, ConnectionResetError) as error:
            self.process.join(timeout=5.0)
            raise RunStopped(
                f"{doing}: worker process {self.process.pid} died (exit code {self.process.exitcode}); exit code -9 usually means "
                "out of memory: free some, and repeat the command; completed work is kept"
            ) from error
        if is_done:
            return value
        raise value[0] from _RemoteTraceback(value[1])

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


class _RemoteTraceback(Exception):
    """Traceback of an exception in a worker, shown as its cause."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _serve(connection: Connection, function: Callable[[Any], Any]) -> None:
    ignore_signals()
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        try:
            found = True, function(item)
        except Exception as error:
            found = False, (error, "".join(traceback.format_exception(error)))
        connection.send(found)
