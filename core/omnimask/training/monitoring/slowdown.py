"""A warning where a run becomes far slower than it was at its beginning."""

from __future__ import annotations

import logging

import torch

from omnimask.registry.observers import Observer, RunInfo, StepResult
from omnimask.training.monitoring.throughput import Rate

logger = logging.getLogger(__name__)

WARM_UP, FIRST = 3, 20
"""Steps that are not counted, and steps after them that give the run's own rate."""
RECENT_SECONDS = 20.0
FACTOR = 3.0
"""A rate this many times below the run's own, over so many seconds and ``FIRST`` steps, is a slowdown."""


class Slowdown(Observer):
    """Warns once when a run becomes slow. The rate is that of whole steps, including the wait for the loader.

    Args:
        run: that is observed.
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
            logger.warning("%s tokens/s, and %s at the beginning: %s", f"{now:,.0f}", f"{before:,.0f}", _remedy(self._run))


def _remedy(run: RunInfo) -> str:
    if run.device.type != "cpu":
        return "if the device is idle, raise train.workers; if another process shares the machine, let it end first"
    threads = torch.get_num_threads()
    fewer = f", or resume with train.threads={threads // 2}" if threads > 1 else ""
    return f"another process may be using the {threads} cores that this run computes on; let it end{fewer}"
