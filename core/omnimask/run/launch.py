"""Launcher for the processes of a run on one machine, compatible with torchrun. Imports no torch.

Each process finds its rank and the others in the variables of ``torchrun``. Signals are forwarded, so a run ends after a
checkpoint, however long this takes. docs/decisions/0016 explains why this is not ``torchrun`` itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

GRACE = 20.0
"""Seconds for the other processes to end by themselves after one has failed."""
_PERIOD = 0.05
_PIPE = "OMNIMASK_LAUNCHER"
_REPORTS = "OMNIMASK_EXIT_REPORTS"
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP") if hasattr(signal, name))


def launch(arguments: Sequence[str], count: int) -> int:
    """Run ``omnimask`` with the same arguments in ``count`` processes, and return a common exit code.

    A failure of one process ends the others, and its code is returned. If a signal killed it, it is named, and the code is 1.
    """
    return _Launcher(arguments, count).run()


class _Launcher:
    def __init__(self, arguments: Sequence[str], count: int) -> None:
        self.command = [sys.executable, "-m", "omnimask", *arguments]
        self.count = count
        self.children: list[subprocess.Popen[bytes]] = []
        self.received: int | None = None

    def run(self) -> int:
        previous: dict[int, Any] = {}
        reading, writing = os.pipe()  # closes when this process ends, in any way
        self.reports, reporting = os.pipe()
        try:
            if threading.current_thread() is threading.main_thread():
                previous = {number: signal.signal(number, self._pass_on) for number in SIGNALS}
            port = free_port()
            for rank in range(self.count):
                # separate sessions: a terminal's Ctrl-C reaches this process alone, which forwards it once
                pipes = {_PIPE: str(reading), _REPORTS: str(reporting)}
                self.children.append(
                    subprocess.Popen(
                        self.command,
                        env={**surroundings(), **variables(rank, self.count, port), **pipes},
                        stdin=subprocess.DEVNULL,
                        start_new_session=True,
                        pass_fds=[reading, reporting],
                    )
                )
                if self.received is not None:
                    break
            return self._wait()
        finally:
            self._kill()
            for descriptor in (reading, writing, self.reports, reporting):
                os.close(descriptor)
            for number, handler in previous.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or number
        for child in self.children:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(number)

    def _wait(self) -> int:
        ended: dict[int, int] = {}  # by rank, in the order of their ends
        deadline: float | None = None
        while len(ended) < len(self.children):
            for rank, child in enumerate(self.children):
                if rank not in ended and (code := child.poll()) is not None:
                    ended[rank] = code
                    if deadline is None and self._is_failure(code):
                        deadline = time.monotonic() + GRACE
            if deadline is not None and time.monotonic() > deadline:
                return self._verdict(ended)
            time.sleep(_PERIOD)
        return self._verdict(ended)

    def _is_failure(self, code: int) -> bool:
        """Return whether the others must end. Otherwise they may be writing a checkpoint after an interruption or at the end."""
        return code < 0 or code in (1, 2, 70)

    def _verdict(self, ended: Mapping[int, int]) -> int:
        reported = self._reported()
        # torch sometimes aborts a process while it exits ("terminate called without ..."): its reported exit code counts
        ended = {rank: reported.get(rank, code) if code == -signal.SIGABRT else code for rank, code in ended.items()}
        killed = {rank: -code for rank, code in ended.items() if code < 0}
        if killed and self.received is not None and all(number == self.received for number in killed.values()):
            return 128 + self.received  # they were signalled before their handlers were installed
        for rank, number in killed.items():
            print(f"error: {_died(rank, number, self.count)}", file=sys.stderr, flush=True)
        if killed:
            return 1
        return next((code for code in ended.values() if code), 0)

    def _reported(self) -> dict[int, int]:
        """Return the exit codes that processes reported before they left, by rank."""
        os.set_blocking(self.reports, False)
        with contextlib.suppress(BlockingIOError):
            pairs = [line.split() for line in os.read(self.reports, 65536).decode().splitlines()]
            return {int(rank): int(code) for rank, code in pairs}
        return {}

    def _kill(self) -> None:
        for child in self.children:
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)  # and its loader workers
                child.wait()


def _died(rank: int, number: int, count: int) -> str:
    name = signal.Signals(number).name if number in set(signal.Signals) else str(number)
    reason = "; often the result of running out of memory" if name == "SIGKILL" else ""
    return (
        f"the process of rank {rank} (of {count}) was killed by {name}{reason}. Earlier checkpoints are intact: "
        "continue with `omnimask resume`"
    )


def variables(rank: int, count: int, port: int) -> dict[str, str]:
    """Return the variables set by ``torchrun`` for a process on a single machine."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def surroundings() -> dict[str, str]:
    """Return the environment. By default it disables torch's own warnings about lost peers, which the run reports itself."""
    return {"TORCH_CPP_LOG_LEVEL": "ERROR", **os.environ}


def free_port() -> int:
    """Return an unused port."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def watch_launcher() -> None:
    """Watch the launcher from a process started by :func:`launch`, and end this one after a checkpoint if the launcher is gone."""
    descriptor = os.environ.get(_PIPE)
    if descriptor is not None:
        threading.Thread(target=_end_with, args=(int(descriptor),), daemon=True).start()


def exit_reporter() -> Callable[[int], None]:
    """Return a function that reports this process's exit code to the launcher, if there is one.

    A library may still abort the exit. Processes that this one starts do not inherit the variable.
    """
    descriptor, rank = os.environ.pop(_REPORTS, None), os.environ.get("RANK")

    def report(code: int) -> None:
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.write(int(descriptor), f"{rank} {code}\n".encode())

    return report


def _end_with(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGTERM)
