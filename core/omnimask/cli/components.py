"""Command ``omnimask components``."""

from __future__ import annotations

import dataclasses
import shutil
import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from omnimask.cli.output import write_json, write_table, write_text
from omnimask.errors import UserError

if TYPE_CHECKING:
    from omnimask.recipe.describe import ComponentSchema
    from omnimask.registry import Entry


def components(
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="tokenizer, masker, ...", show_default=False)] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Show the options of this component.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the installed components, those of one kind, or one component's options."""
    from omnimask.messages.hints import nearest
    from omnimask.registry import KINDS, discover

    if kind is not None and kind not in KINDS:
        raise UserError(f"unknown kind of component {kind!r}{nearest(kind, KINDS)}; kinds: {', '.join(KINDS)}")
    if kind is not None and name is not None:
        _one(kind, name, as_json)
        return
    entries = discover().entries(kind)
    if as_json:
        write_json([_plain(entry) for entry in entries])
        return
    write_table(("kind", "name", "distribution", "version"), [(e.kind, e.name, e.distribution, e.version) for e in entries])


def _plain(entry: Entry) -> dict[str, str]:
    reference = entry.reference if isinstance(entry.reference, str) else f"{entry.reference.__module__}:{entry.reference.__name__}"
    return {
        "kind": entry.kind,
        "name": entry.name,
        "plugin": entry.plugin.name,
        "distribution": entry.distribution,
        "version": entry.version,
        "reference": reference,
    }


def _one(kind: str, name: str, as_json: bool) -> None:
    from omnimask.recipe.describe import schema_of

    schema: ComponentSchema = schema_of(kind, name)
    if as_json:
        write_json(dataclasses.asdict(schema))
        return
    summary = textwrap.fill(schema.summary, shutil.get_terminal_size().columns)
    write_text(f"{kind} {name} ({schema.distribution} {schema.version})\n{summary}\n")
    if not schema.options:
        write_text("No options.")
        return
    rows = [(o.name, o.type, "required" if o.default is None else o.default, o.description) for o in schema.options]
    write_table(("option", "type", "default", "meaning"), rows)
