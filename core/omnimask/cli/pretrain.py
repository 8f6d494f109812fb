"""Command ``omnimask pretrain``."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from omnimask.cli.devices import Devices, launched_instead, together
from omnimask.cli.durations import MaxTime, deadline_in
from omnimask.cli.output import messages, say
from omnimask.cli.training_summary import closing_lines, is_finished_already, outcome, train
from omnimask.errors import UserError

if TYPE_CHECKING:
    from omnimask.recipe import Recipe
    from omnimask.run.prepare import PreparedRun

RUNS = Path("runs")
"""Parent folder of runs without a given folder."""


def pretrain(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="Recipe file, shipped recipe (image/mae), or modality for its quick start (image).",
            show_default=False,
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Overrides of the recipe, for example train.steps=100.", show_default=False),
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", metavar="DIR", help="Run directory; default: runs/RECIPE-N.", show_default=False)
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Run a small version of the recipe on embedded data; nothing is kept without --run.")
    ] = False,
    devices: Devices = 1,
    max_time: MaxTime = None,
    is_continued: Annotated[bool, typer.Option("--continue", help="Resume --run if it exists, else start it.")] = False,
) -> None:
    """Train a model from a recipe.

    All errors in the input are found before anything is written.

    An interrupted run continues with `omnimask resume`.
    """
    deadline = deadline_in(max_time)
    if is_continued and run is None:
        raise UserError("--continue needs the run directory: --run DIR")
    options = [*(() if run is None else ("--run", str(run))), *(["--smoke"] if smoke else []), *_given(max_time, is_continued)]
    launched_instead(devices, ["pretrain", recipe, *(overrides or ()), *options])
    from omnimask.recipe import load_recipe

    with together() as ranks:
        with ranks.together():
            loaded = load_recipe(recipe, overrides or (), smoke=smoke)
        if smoke and run is None:
            with ExitStack() as kept:
                folder = ranks.first(lambda: kept.enter_context(tempfile.TemporaryDirectory(prefix="omnimask-smoke-")))
                summary = train(_start(loaded, Path(folder) / "run"), deadline)
            say(f"{loaded.name}: {outcome(summary)}. The recipe works; nothing was kept.")
            return
        path = ranks.first(lambda: run or _free_folder(loaded))
        ready = _start(loaded, path, is_continued=is_continued)
        if not is_finished_already(ready):
            say("\n".join(closing_lines(path, train(ready, deadline))))


def _given(max_time: str | None, is_continued: bool) -> list[str]:
    return [*(() if max_time is None else ("--max-time", max_time)), *(["--continue"] if is_continued else [])]


def _start(recipe: Recipe, path: Path, *, is_continued: bool = False) -> PreparedRun:
    from omnimask.run.prepare import start
    from omnimask.run.resume import start_or_reopen

    with messages():
        return (start_or_reopen if is_continued else start)(recipe, path)


def _free_folder(recipe: Recipe) -> Path:
    """Return the first unused name of ``runs/NAME-1``, ``runs/NAME-2``, ..."""
    name = recipe.name.replace("/", "-")
    number = 1
    while (path := RUNS / f"{name}-{number}").exists():
        number += 1
    return path
