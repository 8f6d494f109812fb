"""Warning if a run becomes far slower than at its start."""

from __future__ import annotations

import logging

import torch

from omnimask.registry.observers import Observer, RunInfo, StepResult
from omnimask.training.monitoring.throughput import Rate

logger = logging.getLogger(__name__)

WARM_UP, FIRST = 3, 20
"""Number of initial steps to ignore, and of the steps after them that define the reference rate."""
RECENT_SECONDS = 20.0
FACTOR = 3.0
"""Factor below the reference rate, over this many seconds and ``FIRST`` steps, that counts as a slowdown."""


class Slowdown(Observer):
    """Observer that warns once when a run becomes slow. Rates are those of whole steps, including the wait for the loader.

    Args:
        run: the run to observe.
    """

    def __init__(self, run: RunInfo) -> None:
        self._run = run
        self._num_steps = 0
        self._first, self._recent = Rate(), Rate()
        self._has_warned = False

    def after_step(self, *, result: StepResult, seconds: float, line: object) -> None:
        """Compare the last steps with the first ones."""
        self._num_steps += 1
        if self._num_steps <= WARM_UP or self._has_warned:
            return
        if self._first.steps < FIRST:
            self._first.add(result.tokens, seconds)
            return
        self._recent.add(result.tokens, seconds)
        if self._recent.seconds < RECENT_SECONDS or self._recent.steps < FIRST:
            return
        before, now = self._first.tokens_per_second, self._recent.tokens_per_second
        self._recent = Rate()
        if now * FACTOR < before:
            self._has_warned = True
            logger.warning("%s tokens/s, down from %s: %s", f"{now:,.0f}", f"{before:,.0f}", _remedy(self._run))


def _remedy(run: RunInfo) -> str:
    if run.device.type != "cpu":
        return "if the device is idle, raise train.workers; if another process uses the machine, wait for it"
    threads = torch.get_num_threads()
    fewer = f", or resume with train.threads={threads // 2}" if threads > 1 else ""
    return f"another process may be using the {threads} cores of this run; wait for it{fewer}"
