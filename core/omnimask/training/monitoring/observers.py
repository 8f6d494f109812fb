"""Calls of the observers of a run. Errors name the observer's plugin."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omnimask.errors import Interrupted, RunStopped, UserError
from omnimask.messages.hints import nearest
from omnimask.registry import Plugin, Registry, discover, hooks
from omnimask.registry.observers import EVENTS, Observer, RunInfo, Status, StepResult, Validation
from omnimask.registry.references import indented, trace
from omnimask.training.monitoring.metrics import is_reserved

logger = logging.getLogger(__name__)

HOOK = "omnimask_observers"


class Observers:
    """Context manager that collects the observers of one attempt, and ends each of them with ``run_end``.

    An exception in an observer stops the run, with plugin and method in the message. ``UserError``, ``RunStopped`` and
    ``Interrupted`` pass unchanged.

    Args:
        run: given to the hook ``omnimask_observers``.
        registry: source of the plugins; the default is the installed ones. Ranks other than 0 have no observers.
    """

    def __init__(self, run: RunInfo, registry: Registry | None = None) -> None:
        self.run = run
        self._plugins = (registry or discover()).implementing(HOOK) if run.rank == 0 else []
        self._methods: dict[str, list[tuple[Plugin, Callable[..., Any]]]] = {name: [] for name in EVENTS}

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
        """End every observer, even if another one fails."""
        first: Exception | None = None
        for plugin, method in self._methods["run_end"]:
            try:
                with attributed(plugin, "run_end"):
                    method(status=_status(error))
            except Exception as failure:
                logger.error("%s", failure)
                first = first or failure
        if first is not None and error is None:
            raise first

    def before_step(self, step: int) -> None:
        """Announce a step."""
        self._call("before_step", step=step)

    def metrics(self, result: StepResult, taken: Iterable[str]) -> dict[str, float]:
        """Return the observers' metrics for a logged step.

        Raises:
            RunStopped: an observer uses a name of another observer or of the framework.
        """
        found: dict[str, float] = {}
        names = set(taken)
        for plugin, method in self._methods["metrics"]:
            with attributed(plugin, "metrics"):
                added = dict(method(result=result))
                if clash := sorted(name for name in added if name in names or is_reserved(name)):
                    told = f"metric {clash[0]!r} already exists or is reserved"
                    raise ValueError(f"{told}; prefix it ('{plugin.name}.{clash[0]}')")
                found |= {name: float(value) for name, value in added.items()}
                names |= added.keys()
        return found

    def after_step(self, result: StepResult, seconds: float, line: Mapping[str, Any] | None) -> None:
        """Report a step."""
        self._call("after_step", result=result, seconds=seconds, line=line)

    def validated(self, result: Validation, baselines: Mapping[str, Mapping[str, float]], line: Mapping[str, Any]) -> None:
        """Report a validation."""
        self._call("validated", result=result, baselines=baselines, line=line)

    def checkpoint_saved(self, path: Path, is_best: bool) -> None:
        """Report a checkpoint."""
        self._call("checkpoint_saved", path=path, is_best=is_best)

    def _call(self, event: str, **arguments: Any) -> None:
        for plugin, method in self._methods[event]:
            with attributed(plugin, event):
                method(**arguments)

    def _attend(self, plugin: Plugin, module: object) -> None:
        with attributed(plugin, HOOK):
            for observer in _flat(hooks.manager(plugin.name, module).hook.omnimask_observers(run=self.run)):
                _check(observer)
                for name in EVENTS:
                    if getattr(type(observer), name) is not getattr(Observer, name):
                        self._methods[name].append((plugin, getattr(observer, name)))


@contextmanager
def attributed(plugin: Plugin, hook: str, stop: type[UserError | RunStopped] = RunStopped) -> Generator[None]:
    """Convert any exception inside the ``with`` block into one with the names of the plugin and its hook or method.

    Raises:
        RunStopped: or ``stop``, with the plugin, the hook and the traceback.
    """
    try:
        yield
    except (UserError, RunStopped, Interrupted):
        raise
    except Exception as error:
        rest = "checkpoints are intact; disable the plugin with OMNIMASK_PLUGINS, or fix it" if stop is RunStopped else ""
        message = f"{plugin} failed in its hook {hook}: {type(error).__name__}: {error}"
        raise stop("\n".join(filter(None, (message, indented(trace(error)), rest)))) from error


def _flat(sent: Iterable[Sequence[Observer]]) -> list[Observer]:
    for several in sent:
        if not isinstance(several, Sequence):
            raise TypeError(f"{HOOK} must return a list of observers, not {type(several).__name__}")
    return [observer for several in sent for observer in several]


def _check(observer: object) -> None:
    """Raise TypeError unless this is an observer without misspelt methods whose methods accept the arguments of the loop."""
    if not isinstance(observer, Observer):
        raise TypeError(f"the observer {observer!r} is not a subclass of omnimask.Observer")
    own = {name for cls in type(observer).__mro__ if cls not in (Observer, object) for name in vars(cls)}
    for name in sorted(own - set(EVENTS)):
        if not name.startswith("_") and (meant := nearest(name, EVENTS)):
            raise TypeError(f"{type(observer).__qualname__} has a method {name!r}, which is never called{meant}")
    for name in own & set(EVENTS):
        keywords = inspect.signature(getattr(Observer, name)).parameters.keys() - {"self"}
        try:
            inspect.signature(getattr(observer, name)).bind(**dict.fromkeys(keywords))
        except TypeError as error:
            raise TypeError(f"{type(observer).__qualname__}.{name} must take {', '.join(sorted(keywords))}: {error}") from error


def _status(error: BaseException | None) -> Status:
    if error is None:
        return "finished"
    return "interrupted" if isinstance(error, Interrupted) else "stopped" if isinstance(error, RunStopped) else "failed"
