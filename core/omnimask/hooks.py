"""Hook specifications: what the host calls in a plugin, and in the observers that a plugin sends along with a run.

Imports no torch. A plugin's module implements hooks as functions marked with ``omnimask.hookimpl``; it may leave out arguments that
it does not need. The core goes first, then plugins by the name of their distribution.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from omnimask.hints import nearest

if TYPE_CHECKING:
    from torch import nn

    from omnimask.registry import Registrar
    from omnimask.training.observers import RunInfo
    from omnimask.training.step import StepResult
    from omnimask.training.validation import Validation

hookspec = pluggy.HookspecMarker("omnimask")
hookimpl = pluggy.HookimplMarker("omnimask")


@hookspec
def omnimask_register(registry: Registrar) -> None:
    """Register components and recipes by name, as lazy references; called once when plugins are discovered."""


@hookspec
def omnimask_parameter_groups(model: nn.Module, groups: list[dict[str, Any]]) -> None:
    """Change, in place, the parameter groups that an optimiser is about to be made with.

    At first there is one group, with ``params`` (every trainable parameter) and ``weight_decay``. A group may be split, and may get
    a ``weight_decay`` of its own, or an ``lr_scale`` by which its learning rate is multiplied; afterwards every trainable parameter
    must be in exactly one group.
    """


@hookspec
def omnimask_run_begin(run: RunInfo) -> Sequence[object] | None:
    """A run begins or continues. Returns observers of this run: objects with the hooks below as methods."""


@hookspec
def omnimask_step_end(run: RunInfo, result: StepResult, seconds: float, line: Mapping[str, Any] | None) -> None:
    """A step was taken and counted; ``line`` is what was written to ``metrics.jsonl``, None for a step that is not logged."""


@hookspec
def omnimask_validated(
    run: RunInfo, result: Validation, baselines: Mapping[str, Mapping[str, float]], line: Mapping[str, Any]
) -> None:
    """A validation is done, and ``line`` was written; ``baselines`` of its scores by term and name, where there are any."""


@hookspec
def omnimask_checkpoint_saved(run: RunInfo, path: Path, is_best: bool) -> None:
    """A checkpoint is complete on disk; older ones that are no longer kept are gone."""


@hookspec
def omnimask_run_end(run: RunInfo, status: str) -> None:
    """An attempt is over: ``finished``, ``interrupted``, ``stopped`` (for a reason that was named) or ``failed`` (a bug)."""


RUN_TIME = (
    "omnimask_parameter_groups",
    "omnimask_run_begin",
    "omnimask_step_end",
    "omnimask_validated",
    "omnimask_checkpoint_saved",
    "omnimask_run_end",
)
"""The hooks that are called while a run is prepared and trained."""


def manager(name: str, *implementers: object) -> pluggy.PluginManager:
    """A plugin manager that knows the hooks above and one plugin's implementations.

    Raises:
        pluggy.PluginValidationError: an implementation has an unknown name or unknown arguments.
    """
    found = pluggy.PluginManager("omnimask")
    found.add_hookspecs(sys.modules[__name__])
    for number, implementer in enumerate(implementers):
        found.register(implementer, name=f"{name}:{number}" if number else name)
    try:
        found.check_pending()
    except pluggy.PluginValidationError as error:
        raise pluggy.PluginValidationError(error.plugin, f"{error}{_meant(str(error))}") from error
    return found


def _meant(message: str) -> str:
    """A suggestion where a message names an unknown hook."""
    named = re.search(r"unknown hook '(\w+)'", message)
    return nearest(named[1], [name for name in globals() if name.startswith("omnimask_")]) if named else ""
