"""Starts commands as users do, finds what they started in turn, and kills it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TIMEOUT = 300.0
"""Seconds after which a process that does not get anywhere is given up."""


def launch(log: Path, *arguments: Any, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """``omnimask ...`` with one thread, in a process group of its own; its output goes to ``log``."""
    command = [sys.executable, "-m", "omnimask", *map(str, arguments)]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, env=variables, start_new_session=True, cwd=log.parent)


def family(root: int) -> list[int]:
    """A process and all that descend from it, whatever their groups; ``torchrun`` gives every rank a session of its own."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for process in found:
        found += children.get(process, [])
    return found


def kill(processes: list[int]) -> None:
    """SIGKILL, which no process can answer."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def still_there(processes: list[int], patience: float) -> list[int]:
    """Those that have not ended by themselves in time, which are killed then."""
    deadline = time.monotonic() + patience
    while True:
        left = [process for process in processes if _lives(process)]
        if not left or time.monotonic() > deadline:
            kill(left)
            return left
        time.sleep(0.1)


def _lives(process: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
