"""Inventory of installed plugins: their contributions, failures, and anything unusable.

Imports no torch. Only :func:`problems` with ``load`` imports components.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from omnimask.errors import UserError
from omnimask.messages.stdout import printing_to_stderr
from omnimask.registry.commands import Command, clashes
from omnimask.registry.distributions import OWN, Plugin
from omnimask.registry.registry import SUFFIXES, Entry, RecipeFolder, Registry


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
    failed = [
        PluginRow(*_head(each.plugin), failure={"cause": each.cause, "traceback": each.traceback}) for each in registry.failures
    ]
    return [_row(plugin, hooks, registry, commands) for plugin, _, hooks in registry.implementations] + failed


def problems(registry: Registry, commands: Sequence[Command], builtin: Collection[str], *, load: bool) -> list[str]:
    """Return messages about everything unusable.

    Args:
        registry: registry of the installed plugins.
        commands: commands of the plugins.
        builtin: names of omnimask's own commands.
        load: whether to import every component, command and recipe folder, and to include tracebacks.
    """
    found = [f"{failure}\n{failure.traceback}" if load else str(failure) for failure in registry.failures]
    for entries in registry.conflicts():
        claims = " and ".join(str(entry.plugin) for entry in entries)
        found.append(f"{entries[0].kind} {entries[0].name!r} is registered by {claims}; uninstall one or set OMNIMASK_PLUGINS")
    found += clashes(commands, builtin, OWN)
    return found + _unloadable(registry, commands) if load else found


def _unloadable(registry: Registry, commands: Sequence[Command]) -> list[str]:
    found: list[str] = []
    clashing = {(entry.kind, entry.name) for entries in registry.conflicts() for entry in entries}
    for entry in registry.entries():
        if (entry.kind, entry.name) not in clashing:
            try:
                registry.load(entry.kind, entry.name)
            except UserError as error:
                found.extend(error.messages)
    for command in commands:
        try:
            with printing_to_stderr():
                command.load()
        except UserError as error:
            found.extend(error.messages)
    for folder in registry.folders:
        try:
            if not folder.path().is_dir():
                found.append(f"recipes of {folder.plugin}: there is no folder {folder.path()}")
        except Exception as error:  # whatever the plugin's code does
            found.append(f"recipes of {folder.plugin}: {folder.reference}: {type(error).__name__}: {error}")
    return found


def _row(plugin: Plugin, hooks: tuple[str, ...], registry: Registry, commands: Sequence[Command]) -> PluginRow:
    components = [_component(entry) for entry in registry.entries() if entry.plugin == plugin]
    recipes = [name for folder in registry.folders if folder.plugin == plugin for name in _recipes(folder)]
    mine = [command.name for command in commands if _belongs(command, plugin)]
    run_time = tuple(hook for hook in hooks if hook != "omnimask_register")
    return PluginRow(*_head(plugin), tuple(components), tuple(sorted(recipes)), run_time, tuple(mine))


def _head(plugin: Plugin) -> tuple[str, str, str, str]:
    return plugin.name, plugin.distribution, plugin.version, plugin.module


def _component(entry: Entry) -> Mapping[str, str]:
    reference = entry.reference if isinstance(entry.reference, str) else f"{entry.reference.__module__}:{entry.reference.__name__}"
    return {"kind": entry.kind, "name": entry.name, "reference": reference}


def _recipes(folder: RecipeFolder) -> list[str]:
    try:
        return [f"{folder.modality}/{path.stem}" for path in folder.path().iterdir() if path.suffix in SUFFIXES]
    except Exception:  # `problems` says what is wrong with it
        return []


def _belongs(command: Command, plugin: Plugin) -> bool:
    """Return whether a command comes from the plugin's distribution and package."""
    package = command.reference.partition(":")[0].partition(".")[0]
    return command.distribution == plugin.distribution and package == plugin.module.partition(".")[0]
