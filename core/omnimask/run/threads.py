"""Number of host threads for torch, and their waiting policy. Imports torch only when necessary."""

from __future__ import annotations

import logging
import os
from typing import Literal

from omnimask.data.worker_processes import usable_cores

logger = logging.getLogger(__name__)

SPINS = 10_000
"""Spins of a waiting thread before it sleeps, in GNU's OpenMP (used by torch's Linux builds), whose own default is 300,000."""


def choose_threads(wanted: int | Literal["auto"], workers: int, recorded: int | None = None) -> int:
    """Return the number of threads for one process of a run.

    Sums over another number of threads are rounded in another order, so a resumed run keeps its number.

    Args:
        wanted: the recipe's ``train.threads``. ``auto``: the usable cores, divided among the processes of this machine, less the
            loader workers. ``OMP_NUM_THREADS`` takes precedence if set.
        workers: loader processes.
        recorded: the number at the start of the run.
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
            "the run was started with %d threads, but %d cores are available: losses may differ in the last "
            "digits; train.threads=%d keeps the number",
            recorded,
            cores,
            recorded,
        )
    return min(recorded, cores)


def wait_briefly() -> None:
    """Make waiting threads spin briefly and then sleep. Must be called before torch is imported.

    A spinning thread occupies the core that a preempted one needs: with one other busy process, steps then take many times as long.
    Sleeping at once costs an idle machine a fifth of its speed. Variables set by the user stay unchanged.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = str(SPINS)
