"""How many threads torch computes with on the host, and how they wait for each other. Imports no torch before it must."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import Literal

logger = logging.getLogger(__name__)

SPINS = 10_000
"""Turns of a waiting thread before it sleeps, in GNU's OpenMP, which torch's Linux builds use; its own default is 300,000."""
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Control group, version 2: microseconds of processor time that a period grants (or ``max``), and the period."""


def usable_cores() -> int:
    """Processors that this process may use: by its affinity, and by the quota of its control group."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        allowed = os.cpu_count() or 1
    try:
        granted, period = _QUOTA.read_text().split()
        allowed = min(allowed, max(1, math.ceil(int(granted) / int(period))))
    except (OSError, ValueError):  # no such file, or no limit
        pass
    return max(1, allowed)


def choose_threads(wanted: int | Literal["auto"], workers: int, recorded: int | None = None) -> int:
    """Threads for one process of a run.

    Sums over other numbers of threads are rounded in another order, so a run that continues keeps the number that it began with.

    Args:
        wanted: the recipe's ``train.threads``. ``auto``: the usable cores, shared out over the processes of this machine, less the
            loader workers. ``OMP_NUM_THREADS``, where it is set, decides instead.
        workers: loader processes.
        recorded: the number that the run began with.
    """
    if wanted != "auto":
        return wanted
    if os.environ.get("OMP_NUM_THREADS"):
        import torch

        return torch.get_num_threads()
    cores = usable_cores()
    if recorded is None:
        return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) - workers)
    if recorded > cores:
        logger.warning(
            "the run began with %d threads, and there are %d cores now: losses may differ in their last digits; train.threads=%d "
            "keeps the number",
            recorded,
            cores,
            recorded,
        )
    return min(recorded, cores)


def wait_briefly() -> None:
    """Let threads that wait for others spin for a moment and then sleep, before torch is imported.

    A thread that spins takes the core that a preempted one needs: beside one other busy process, steps then take many times as
    long. One that sleeps at once costs an idle machine a fifth of its speed. Variables that the user set stay as they are.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = str(SPINS)
