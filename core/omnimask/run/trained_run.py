"""Opens a trained run: its recipe, as it is, and one of its checkpoints, which must have been trained with that recipe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from omnimask.errors import RunStopped, UserError
from omnimask.network.model import MaskedModel
from omnimask.recipe import Recipe, load_recipe
from omnimask.run.changes import check_edits, compare
from omnimask.run.plugin_sources import missing_plugins
from omnimask.run.provenance import RECIPE, Origin, read_origin
from omnimask.training.checkpoints.contents import load_weights
from omnimask.training.checkpoints.directory import Checkpoints, Damaged
from omnimask.training.checkpoints.run_directory import RunDirectory


def open_trained(path: Path, checkpoint: str, changes: Sequence[str] = ()) -> tuple[Recipe, Path]:
    """A run's recipe and one of its checkpoints; the first step of every command that uses trained weights.

    ``recipe.yaml`` in the run's folder may have been edited since. It is compared with the recipe that the checkpoint keeps, key by
    key, and may differ in what leaves the model and its data alone, and in what was accepted when the run was resumed.

    Args:
        path: the run directory.
        checkpoint: see :func:`choose_checkpoint`.
        changes: ``key=value`` of this command, which are no edits.

    Raises:
        UserError: there is no such run or checkpoint, or the recipe was edited; the message names each key.
    """
    recipe = load_run(path)
    chosen = choose_checkpoint(path, checkpoint)
    directory = RunDirectory(path)
    origin = read_origin(chosen, directory)
    now = Origin(directory.recipe.read_text(encoding="utf-8"))
    check_edits(compare(origin, now), directory.recipe, chosen / RECIPE)
    return load_run(path, changes) if changes else recipe, chosen


def load_run(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """The recipe of a run, with changes.

    Raises:
        UserError: the folder holds no run, or its recipe cannot be used.
    """
    directory = RunDirectory(path)
    if not path.exists():
        raise UserError(f"there is no run directory {path}")
    if not directory.recipe.is_file():
        raise UserError(f"{path} is no run directory: it holds no recipe.yaml")
    directory.check_links()
    try:
        return load_recipe(directory.recipe, changes)
    except UserError as error:
        raise UserError(*error.messages, *_missing(directory)) from error


def _missing(directory: RunDirectory) -> list[str]:
    try:
        return missing_plugins(json.loads(directory.environment.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError):
        return []


def choose_checkpoint(path: Path, name: str) -> Path:
    """A checkpoint of a run.

    Args:
        path: the run directory.
        name: ``best`` (the newest where nothing was validated), ``last``, or the name of one (``step-00001000``).

    Raises:
        UserError: there is none of this name, or none at all.
    """
    checkpoints = Checkpoints(RunDirectory(path).checkpoints)
    if name not in ("best", "last"):
        found = [candidate for candidate in checkpoints.paths() if candidate.name == name]
        if not found:
            names = ", ".join(candidate.name for candidate in checkpoints.paths()) or "none"
            raise UserError(f"--checkpoint: {path} has no checkpoint {name!r}; there are best, last, {names}")
        return found[0]
    try:
        chosen = (checkpoints.best() if name == "best" else None) or checkpoints.newest()
    except RunStopped as error:
        raise UserError(*str(error).splitlines()) from error
    if chosen is None:
        raise UserError(f"{path} has no checkpoint yet")
    return chosen


def load_checkpoint(model: MaskedModel, checkpoint: Path) -> None:
    """Loads a checkpoint's weights, the averaged ones where the run keeps them.

    Raises:
        UserError: the checkpoint is damaged.
    """
    try:
        load_weights(model, checkpoint)
    except Damaged as error:
        raise UserError(f"{checkpoint} is damaged: {error}; choose another one with --checkpoint") from error
