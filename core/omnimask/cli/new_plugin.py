"""Command ``omnimask new-plugin``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from omnimask.cli.output import say, write_text


def new_plugin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the modality or masker: seismic.", show_default=False)],
    kind: Annotated[str, typer.Option("--kind", metavar="KIND", help="modality or masker.")] = "modality",
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Parent folder of the package.")] = Path(),
) -> None:
    """Write a plugin package that passes its own tests and trains at once.

    Creates the folder omnimask-NAME and prints its path.
    """
    from omnimask import scaffold

    folder = scaffold.new_plugin(name, kind, out)
    write_text(str(folder))
    where = shlex.quote(str(folder))
    say(f"\nNext:\n  cd {where}\n  pip install -e '.[test]'\n  pytest\n  omnimask pretrain {name}")
