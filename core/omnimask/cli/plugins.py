"""``omnimask plugins``."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated

import typer

from omnimask.cli.extra import OWN
from omnimask.cli.output import report, say, write_json, write_table
from omnimask.commands import clashes, find
from omnimask.errors import UserError

if TYPE_CHECKING:
    from omnimask.registry import Registry


def plugins(
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Load every component and recipe folder; exit 1 if one fails.")] = False,
) -> None:
    """List the installed plugins, where they come from, and which ones failed."""
    from omnimask.cli import builtin_names
    from omnimask.registry import discover

    registry = discover()
    problems = _problems(registry, builtin_names(), load=check)
    if as_json:
        write_json({"plugins": _rows(registry), "problems": problems, "left_out": list(registry.left_out), "checked": check})
    else:
        columns = ("plugin", "distribution", "version", "components", "recipes")
        write_table(columns, [[str(row[column]) for column in columns] for row in _rows(registry)], right=columns[3:])
        if registry.left_out:
            say(f"left out by OMNIMASK_PLUGINS: {', '.join(registry.left_out)}")
        if problems:
            report(1, *problems)
        elif check:
            say("every component could be loaded")
    if problems and check:
        raise typer.Exit(1)


def _rows(registry: Registry) -> list[dict[str, str | int]]:
    return [
        {
            "plugin": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "components": sum(entry.plugin == plugin for entry in registry.entries()),
            "recipes": sum(folder.plugin == plugin for folder in registry.folders),
        }
        for plugin in registry.plugins
    ]


def _problems(registry: Registry, builtin: Collection[str], *, load: bool) -> list[str]:
    found = [f"{failure}\n{failure.traceback}" if load else str(failure) for failure in registry.failures]
    for entries in registry.conflicts():
        claims = " and ".join(str(entry.plugin) for entry in entries)
        found.append(f"{entries[0].kind} {entries[0].name!r} is registered by {claims}; uninstall one or set OMNIMASK_PLUGINS")
    found += clashes(find(), builtin, OWN)
    if not load:
        return found
    for command in find():
        try:
            command.load()
        except UserError as error:
            found.extend(error.messages)
    clashing = {(entry.kind, entry.name) for entries in registry.conflicts() for entry in entries}
    for entry in registry.entries():
        if (entry.kind, entry.name) not in clashing:
            try:
                registry.load(entry.kind, entry.name)
            except UserError as error:
                found.extend(error.messages)
    for folder in registry.folders:
        try:
            if not folder.path().is_dir():
                found.append(f"recipes of {folder.plugin}: there is no folder {folder.path()}")
        except Exception as error:  # whatever the plugin's code does
            found.append(f"recipes of {folder.plugin}: {folder.reference}: {type(error).__name__}: {error}")
    return found
