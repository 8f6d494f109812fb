"""Inventory of installed plugins: their contributions, failures, and anything unusable.

Imports no torch. Only :func:`problems` with ``load`` imports components.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from omnimask.errors import UserError
from omnimask.messages.stdout import printing_to_stderr
from omnimask.registry.commands import Command, clashes, owners
from omnimask.registry.distributions import OWN, Plugin
from omnimask.registry.registry import Entry, Registry


@dataclass(frozen=True)
class PluginRow:
    """One plugin: ``entry_point`` is its module, ``hooks`` are those of run time, ``components`` have kind, name and reference.

    A failed plugin has only a ``failure`` with cause and traceback.
    """

    plugin: str
    distribution: str
    version: str
    entry_point: str
    components: tuple[Mapping[str, str], ...] = ()
    recipes: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    failure: Mapping[str, str] | None = None


def rows(registry: Registry, commands: Sequence[Command]) -> list[PluginRow]:
    """Return the working plugins, then the failed ones."""
    found = [_row(plugin, hooks, registry, commands) for plugin, _, hooks in registry.implementations]
    failed = [(each.plugin, {"cause": each.cause, "traceback": each.traceback}) for each in registry.failures]
    return found + [PluginRow(*_head(plugin), failure=failure) for plugin, failure in failed]


def problems(registry: Registry, commands: Sequence[Command], builtin: Collection[str], *, load: bool) -> list[str]:
    """Return messages about everything unusable.

    Args:
        registry: registry of the installed plugins.
        commands: commands of the plugins.
        builtin: names of omnimask's own commands.
        load: whether to import every component, command and recipe folder, and to include tracebacks.
    """
    found = [f"{failure}\n{failure.traceback}" if load else str(failure) for failure in registry.failures]
    conflicts = registry.conflicts()
    for entries in conflicts:
        claims = " and ".join(str(entry.plugin) for entry in entries)
        found.append(f"{entries[0].kind} {entries[0].name!r} is registered by {claims}; uninstall one or set OMNIMASK_PLUGINS")
    found += clashes(commands, builtin, OWN)
    if not load:
        return found
    usable = [entry for entry in registry.entries() if not any(entry in entries for entries in conflicts)]
    checks: list[Callable[[], Any]] = [partial(registry.load, entry.kind, entry.name) for entry in usable]
    checks += [command.load for command in commands] + [folder.files for folder in registry.folders]
    for check in checks:
        try:
            with printing_to_stderr():
                check()
        except UserError as error:
            found.extend(error.messages)
    return found


def _row(plugin: Plugin, hooks: tuple[str, ...], registry: Registry, commands: Sequence[Command]) -> PluginRow:
    recipes: list[str] = []
    for folder in (folder for folder in registry.folders if folder.plugin == plugin):
        with contextlib.suppress(UserError):  # reported by `problems`
            recipes += folder.files()
    return PluginRow(
        *_head(plugin),
        components=tuple(_component(entry) for entry in registry.entries() if entry.plugin == plugin),
        recipes=tuple(sorted(recipes)),
        hooks=tuple(hook for hook in hooks if hook != "omnimask_register"),
        commands=tuple(
            each.name for each in commands if plugin.name in owners(each.reference, each.distribution, registry.plugins)
        ),
    )


def _head(plugin: Plugin) -> tuple[str, str, str, str]:
    return plugin.name, plugin.distribution, plugin.version, plugin.module


def _component(entry: Entry) -> Mapping[str, str]:
    reference = entry.reference if isinstance(entry.reference, str) else f"{entry.reference.__module__}:{entry.reference.__name__}"
    return {"kind": entry.kind, "name": entry.name, "reference": reference}
