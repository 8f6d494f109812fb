"""Command ``omnimask tokenize``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from omnimask.cli.output import messages, say
from omnimask.errors import UserError


def tokenize(
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", help="Recipe file, shipped recipe, or modality for its quick start.", show_default=False),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the tokens.", show_default=False)],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Overrides of the recipe.", show_default=False)
    ] = None,
    part: Annotated[str, typer.Option("--part", metavar="I/N", help="Tokenize the I-th of N parts, counted from 1.")] = "1/1",
) -> None:
    """Tokenize a recipe's data once, for training on the tokens.

    Uses all cores. Repeat an interrupted command to continue it, and a complete one to check its files and make damaged ones anew.
    With --part, several machines share the work in one folder; the last to finish completes it.
    """
    chosen = _part(part)
    from omnimask.recipe import load_recipe
    from omnimask.run.tokenize import tokenize

    with messages():
        found = tokenize(load_recipe(recipe, overrides or ()), out, chosen)
    if not found.is_complete:
        say(f"{out}: {found.files:,} of {found.num_files:,} files are complete; the last of the {chosen[1]} parts completes it")
        return
    say(f"{out}: {found.samples:,} samples with {found.tokens:,} tokens. Train on them with\n  data.name=tokens data.path={out}")


def _part(text: str) -> tuple[int, int]:
    number, sign, total = text.partition("/")
    if not (sign and number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total)):
        raise UserError(f"--part: must be I/N with 1 <= I <= N, for example 3/16, got {text!r}")
    return int(number), int(total)
