"""Hook specifications: the functions that the host calls in a plugin. Imports no torch.

A plugin's module implements hooks as functions marked with ``omnimask.hookimpl``. It may omit unneeded arguments. The
core goes first, then plugins by the name of their distribution.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pluggy

from omnimask.messages.hints import nearest

if TYPE_CHECKING:
    from torch import nn

    from omnimask.registry.observers import Observer, RunInfo
    from omnimask.registry.registry import Registrar

hookspec = pluggy.HookspecMarker("omnimask")
hookimpl = pluggy.HookimplMarker("omnimask")


@hookspec
def omnimask_register(registry: Registrar) -> None:
    """Register components and recipes by name, as lazy references. Called once when plugins are discovered."""


@hookspec
def omnimask_parameter_groups(model: nn.Module, groups: list[dict[str, Any]]) -> None:
    """Change the parameter groups in place, before the optimizer is created.

    Initially there is one group, with ``params`` (every trainable parameter) and ``weight_decay``. A group may be split, and may
    get its own ``weight_decay``, or an ``lr_scale`` that multiplies its learning rate. Afterwards every trainable parameter must be
    in exactly one group.
    """


@hookspec
def omnimask_observers(run: RunInfo) -> Sequence[Observer] | None:
    """Return observers of a run that begins or continues. Called on rank 0."""


RUN_TIME = ("omnimask_parameter_groups", "omnimask_observers")
"""Hooks called while a run is prepared and trained."""


def manager(name: str, implementer: object) -> pluggy.PluginManager:
    """Return a plugin manager with the hooks above and one plugin's implementations.

    Raises:
        pluggy.PluginValidationError: an implementation has an unknown name or unknown arguments.
    """
    found = pluggy.PluginManager("omnimask")
    found.add_hookspecs(sys.modules[__name__])
    found.register(implementer, name=name)
    try:
        found.check_pending()
    except pluggy.PluginValidationError as error:
        raise pluggy.PluginValidationError(error.plugin, f"{error}{_meant(str(error))}") from error
    return found


def _meant(message: str) -> str:
    """Return a suggestion if a message names an unknown hook."""
    named = re.search(r"unknown hook '(\w+)'", message)
    return nearest(named[1], [name for name in globals() if name.startswith("omnimask_")]) if named else ""
