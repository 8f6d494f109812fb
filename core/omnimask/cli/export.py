"""Command ``omnimask export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from omnimask.cli.evaluate import data_key
from omnimask.cli.output import messages, say, write_text


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder; must not exist.", show_default=False)],
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="transformers, safetensors, or a format of a plugin.")],
    checkpoint: Annotated[str, typer.Option("--checkpoint", metavar="NAME", help="best, last, or step-00001000.")] = "best",
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data", metavar="KEY=VALUE", help="Current location of the data, path=FOLDER; repeatable.", show_default=False
        ),
    ] = None,
) -> None:
    """Export a trained model for another program.

    The export is read back, and counts only after its outputs were compared with the model's on held-out samples. The folder's path
    goes to stdout.
    """
    from omnimask.export import export_run

    with messages():
        written = export_run(run, to, out, checkpoint=checkpoint, changes=[data_key(change) for change in data or ()])
    say(str(written))
    write_text(str(written.path))
