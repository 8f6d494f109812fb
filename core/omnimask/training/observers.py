"""Those who watch a run: the hooks of plugins, each isolated, and called only where somebody implements them."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pluggy
import torch
from torch import nn

from omnimask import hooks
from omnimask.errors import Interrupted, RunStopped, UserError
from omnimask.references import indented, trace
from omnimask.registry import Plugin, Registry, discover
from omnimask.training.config import TrainConfig
from omnimask.training.progress import Progress
from omnimask.training.run_directory import RunDirectory
from omnimask.training.step import StepResult
from omnimask.training.validation import Validation

logger = logging.getLogger(__name__)

BEGIN = "omnimask_run_begin"
END = "omnimask_run_end"
EVENTS = ("omnimask_step_end", "omnimask_validated", "omnimask_checkpoint_saved", END)


@dataclass(frozen=True)
class RunInfo:
    """What every hook of a run is given.

    Attributes:
        directory: paths of the run.
        config: the recipe's ``train:``.
        progress: counters, as they are now; only to be read.
        model: on ``device``; a hook that changes it changes the training.
        optimizer: with the parameter groups as they became.
        rank: of this process; hooks are called in that of rank 0 alone.
        show: whether progress is to be shown on stderr.
    """

    directory: RunDirectory
    config: TrainConfig
    progress: Progress
    model: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    rank: int = 0
    show: bool = True


class Observers:
    """Calls the hooks of one attempt; the ``with`` block begins with ``omnimask_run_begin`` and ends with ``omnimask_run_end``.

    Any error in a hook stops the run, and the message names plugin and hook; ``UserError``, ``RunStopped`` and ``Interrupted`` of a
    plugin are passed on as they are.

    Args:
        run: given to every hook.
        registry: whose plugins are called; default: what is installed.
    """

    def __init__(self, run: RunInfo, registry: Registry | None = None) -> None:
        self.run = run
        self._plugins = (registry or discover()).implementing(BEGIN, *EVENTS) if run.rank == 0 else []
        self._callers: dict[str, list[tuple[Plugin, pluggy.HookCaller]]] = {name: [] for name in EVENTS}

    def __enter__(self) -> Observers:
        try:
            for plugin, module in self._plugins:
                self._attend(plugin, module)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        names = ", ".join(sorted({f"{plugin.name} of {plugin.distribution} {plugin.version}" for plugin, _ in self._plugins}))
        logger.info("hooks: %s", names or "none")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: object) -> None:
        """Ends every observer, also after one that fails."""
        first: Exception | None = None
        for plugin, caller in self._callers[END]:
            try:
                with attributed(plugin, END):
                    caller(run=self.run, status=_status(error))
            except Exception as failure:
                logger.error("%s", failure)
                first = first or failure
        if first is not None and error is None:
            raise first

    def step_end(self, result: StepResult, seconds: float, line: Mapping[str, Any] | None) -> None:
        """After a step that was counted."""
        for plugin, caller in self._callers["omnimask_step_end"]:
            with attributed(plugin, "omnimask_step_end"):
                caller(run=self.run, result=result, seconds=seconds, line=line)

    def validated(self, result: Validation, baselines: Mapping[str, Mapping[str, float]], line: Mapping[str, Any]) -> None:
        """After a validation that was written."""
        for plugin, caller in self._callers["omnimask_validated"]:
            with attributed(plugin, "omnimask_validated"):
                caller(run=self.run, result=result, baselines=baselines, line=line)

    def checkpoint_saved(self, path: Path, is_best: bool) -> None:
        """After a checkpoint."""
        for plugin, caller in self._callers["omnimask_checkpoint_saved"]:
            with attributed(plugin, "omnimask_checkpoint_saved"):
                caller(run=self.run, path=path, is_best=is_best)

    def _attend(self, plugin: Plugin, module: object) -> None:
        """From now on the plugin's own hooks are called, and those of the observers that it sends."""
        with attributed(plugin, BEGIN):
            sent = hooks.manager(plugin.name, module).hook.omnimask_run_begin(run=self.run)
            called = hooks.manager(plugin.name, module, *_flat(sent))
        for name in EVENTS:
            caller = getattr(called.hook, name)
            if caller.get_hookimpls():
                self._callers[name].append((plugin, caller))


@contextmanager
def attributed(plugin: Plugin, hook: str, stop: type[UserError | RunStopped] = RunStopped) -> Generator[None]:
    """Inside the ``with`` block every error is one of the plugin's hook.

    Raises:
        RunStopped: or whatever ``stop`` is, with the plugin, the hook and the traceback.
    """
    try:
        yield
    except (UserError, RunStopped, Interrupted):
        raise
    except Exception as error:
        rest = "checkpoints are intact; leave the plugin out with OMNIMASK_PLUGINS, or correct it" if stop is RunStopped else ""
        message = f"{plugin} failed in its hook {hook}: {type(error).__name__}: {error}"
        raise stop("\n".join(filter(None, (message, indented(trace(error)), rest)))) from error


def _flat(sent: Iterable[Sequence[object]]) -> list[object]:
    for several in sent:
        if not isinstance(several, Sequence):
            raise TypeError(f"{BEGIN} returns a list of observers, not {type(several).__name__}")
    observers = [observer for several in sent for observer in several]
    for observer in observers:
        if not any(hasattr(getattr(observer, name, None), "omnimask_impl") for name in EVENTS):
            raise TypeError(f"the observer {observer!r} has none of the methods {', '.join(EVENTS)}, marked with omnimask.hookimpl")
    return observers


def _status(error: BaseException | None) -> str:
    if error is None:
        return "finished"
    return "interrupted" if isinstance(error, Interrupted) else "stopped" if isinstance(error, RunStopped) else "failed"
