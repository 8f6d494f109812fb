"""A plugin that does harm on one rank at one step: ``OMNIMASK_HARM=nan:1:4`` makes rank 1's loss NaN in step 4."""

from __future__ import annotations

import os
from typing import Any

import omnimask
from omnimask.errors import RunStopped


@omnimask.hookimpl
def omnimask_parameter_groups(model: Any) -> None:
    """Every rank makes an optimizer before it trains; from then on its steps are watched."""
    from omnimask.training.step import StepRunner

    kind, rank, step = (os.environ.get("OMNIMASK_HARM") or "none:0:0").split(":")
    if kind == "none" or rank != os.environ.get("RANK", "0"):
        return
    accumulate, totals = StepRunner.accumulate, StepRunner.totals
    now = {"step": 0}

    def harmful_totals(runner: Any, loaded: Any, failure: Any = None) -> Any:
        now["step"] = loaded.step + 1
        if kind == "data" and now["step"] == int(step):
            failure = RunStopped("the data of this rank are bad")
        if kind == "empty" and now["step"] == int(step):
            loaded.batches.clear()
        return totals(runner, loaded, failure)

    def harmful(runner: Any, batches: Any, denominators: Any = None) -> Any:
        loss, terms = accumulate(runner, batches, denominators)
        if now["step"] == int(step):
            if kind == "memory":
                raise MemoryError
            if kind == "nan":
                loss = loss * float("nan")
        return loss, terms

    StepRunner.accumulate = harmful
    StepRunner.totals = harmful_totals


class Harmful(omnimask.Observer):
    """``OMNIMASK_HARM=hook:0:4`` fails in an observer."""

    def __init__(self, run: Any) -> None:
        self.run = run

    def after_step(self, *, result: Any, seconds: float, line: Any) -> None:
        kind, _, step = (os.environ.get("OMNIMASK_HARM") or "none:0:0").split(":")
        if kind == "hook" and self.run.progress.step == int(step):
            raise ValueError("the hook is broken")


@omnimask.hookimpl
def omnimask_observers(run: Any) -> list[Harmful]:
    """Fails where it is told to."""
    return [Harmful(run)]


@omnimask.hookimpl
def omnimask_register(registry: Any) -> None:
    """Nothing: this plugin only does harm."""
