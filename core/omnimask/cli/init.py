"""Command ``omnimask init``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from omnimask.cli.output import messages, say, write_pairs
from omnimask.errors import UserError

if TYPE_CHECKING:
    from omnimask.interfaces import Suggestion


def init(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder of files, or one file.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Recipe file to write.")] = Path("recipe.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a recipe for the files in a folder, or for one file.

    Its numbers suit the files and this machine's device. Its comments explain each choice.
    """
    _check_output(output, force)
    from omnimask.run.suggest import suggest

    with messages():
        suggestion, *others = suggest(path)
    _write(output, suggestion)
    write_pairs(suggestion.summary, title=f"{path}: {suggestion.modality}")
    for other in others:
        say(f"{other.num_files:,} files of {other.modality} found, too; this recipe ignores them")
    recipe = shlex.quote(str(output))
    figure = shlex.quote(str(output.with_name(f"{output.stem}-masks.png")))
    needs = f" {suggestion.needs}" if suggestion.needs else ""
    say(f"\nwritten: {output}. Next:\n  omnimask inspect {recipe}{needs} --figure {figure}\n  omnimask pretrain {recipe}{needs}")


def _check_output(output: Path, force: bool) -> None:
    """Raise ``UserError`` before the files are examined, which may take a while."""
    if output.is_dir():
        raise UserError(f"--output: {output} is a folder; give a file, for example {output / 'recipe.yaml'}")
    if output.exists() and not force:
        raise UserError(f"--output: {output} exists; choose another file, or overwrite it with --force")
    if not output.parent.is_dir():
        raise UserError(f"--output: folder {output.parent} of {output.name} does not exist")


def _write(output: Path, suggestion: Suggestion) -> None:
    from omnimask.training.checkpoints import durable_files as files

    try:
        files.replace(output, suggestion.recipe.encode("utf-8"))
    except OSError as error:
        raise UserError(f"--output: cannot write {output}: {error.strerror or error}") from error
    except UnicodeEncodeError as error:
        raise UserError(
            f"the folder's name is not UTF-8 and cannot be written to a recipe: rename it, or link to it ({error})"
        ) from error
