"""Wall time, CPU time and peak memory of a command with all processes that it starts. Linux only."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TICK = os.sysconf("SC_CLK_TCK")
_PAUSE = 0.02
_SAMPLED = 0.2
"""Seconds between looks at the file that ends a measurement, and between samples of memory."""


@dataclass(frozen=True)
class Used:
    """Resources of a command.

    ``wall`` and ``cpu`` in seconds, from its start until it was stopped or ended by itself. ``peak`` is the largest sum of memory
    in bytes over all of its processes at one moment, with shared pages divided among the processes that share them.
    """

    wall: float
    cpu: float
    peak: int


class CommandFailed(RuntimeError):
    """A command ended before it was stopped, or with another exit code than 0; the end of its output."""


def used_by(
    command: Sequence[Any],
    log: Path,
    environment: Mapping[str, str],
    until: Callable[[], bool] | None = None,
    folder: Path | None = None,
) -> Used:
    """Run a command in a session of its own, and kill all of it at the end.

    Args:
        command: the program and its arguments.
        log: file for its output.
        environment: variables to set.
        until: stops the command when it returns true, asked 50 times a second; None: the command ends by itself.
        folder: working directory.

    Raises:
        CommandFailed: the command failed, or ended before ``until`` was true.
    """
    begin, before = time.monotonic(), _cpu_of_ended()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*map(str, command)],
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
            cwd=folder,
            start_new_session=True,
        )
    memory = _Memory(process.pid)
    try:
        while process.poll() is None and not (until is not None and until()):
            time.sleep(_PAUSE)
        wall, is_stopped = time.monotonic() - begin, process.returncode is None
        cpu = _cpu_of(process.pid) if is_stopped else _cpu_of_ended() - before
        if not is_stopped and (process.returncode or until is not None):
            raise CommandFailed(f"{command[0]} ended with {process.returncode}: {log.read_text()[-2000:]}")
    finally:
        kill_session(process.pid)
        process.wait()
        peak = memory.stop()
    return Used(wall, cpu, peak)


def kill_session(session: int) -> None:
    """SIGKILL to every process of a session."""
    for process in _members(session):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


class _Memory:
    """Thread that samples the memory of a session."""

    def __init__(self, session: int) -> None:
        self.session, self.peak, self._stopped = session, 0, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._stopped.set()
        self._thread.join()
        return self.peak

    def _sample(self) -> None:
        while not self._stopped.wait(_SAMPLED):
            self.peak = max(self.peak, sum(map(_memory_of, _members(self.session))))


def _members(session: int) -> list[int]:
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))) and int(fields[3]) == session and fields[0] != "Z":
            found.append(int(entry.name))
    return found


def _stat(process: int) -> list[str]:
    """Return the fields of /proc/PROCESS/stat from the state on; empty if there is no such process."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return []


def _cpu_of(process: int) -> float:
    """Return the CPU seconds of a process, of its children that have ended, and of all others in its session."""
    fields = [_stat(member) for member in _members(process)]
    return sum(sum(map(int, found[11:15])) for found in fields if found) / _TICK


def _cpu_of_ended() -> float:
    """Return the CPU seconds of all processes that this one started and that have ended, with their own."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _memory_of(process: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    return 0
