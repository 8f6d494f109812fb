"""Command ``omnimask plugins``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omnimask.cli.output import report, say, write_json, write_table
from omnimask.cli.plugin_commands import Placeholder

if TYPE_CHECKING:
    from omnimask.registry.inventory import PluginRow

FORMAT = 1
"""Version of the JSON format. New keys keep it; changes of existing ones increase it."""
_COLUMNS = ("plugin", "distribution", "version", "components", "recipes", "hooks", "commands")


def plugins(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Load all components, commands and recipe folders; exit 1 on failure.")
    ] = False,
) -> None:
    """List the installed plugins, their distributions, and failures."""
    from omnimask.registry import discover
    from omnimask.registry.commands import find
    from omnimask.registry.inventory import problems, rows

    registry, commands = discover(), find()
    found = rows(registry, commands)
    wrong = problems(registry, commands, builtin_names(context), load=check)
    if as_json:
        record = {"plugins": [dataclasses.asdict(row) for row in found], "problems": wrong}
        write_json({"format": FORMAT, **record, "left_out": list(registry.left_out), "checked": check})
    else:
        write_table(_COLUMNS, _cells(found), right=_COLUMNS[3:])
        if registry.left_out:
            say(f"disabled by OMNIMASK_PLUGINS: {', '.join(registry.left_out)}")
        if wrong:
            report(1, *wrong)
        elif check:
            say("all components load")
    if wrong and check:
        raise typer.Exit(1)


def builtin_names(context: typer.Context) -> list[str]:
    """Return the names of omnimask's own commands."""
    root: Any = context.find_root().command
    return [name for name, command in root.commands.items() if not isinstance(command, Placeholder)]


def _cells(found: Sequence[PluginRow]) -> list[list[str]]:
    """Return names and counts per kind. A failed plugin has no counts."""
    return [
        [row.plugin, row.distribution, row.version]
        + (
            [str(len(many)) for many in (row.components, row.recipes, row.hooks, row.commands)]
            if row.failure is None
            else ["failed", "", "", ""]
        )
        for row in found
    ]
