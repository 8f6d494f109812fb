"""Opening of a trained run: its current recipe, and a checkpoint trained with this recipe."""

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
    """Return a run's recipe and one of its checkpoints; the first step of every command with trained weights.

    ``recipe.yaml`` in the run's folder may have been edited. It is compared with the checkpoint's recipe key by key. It may differ
    in keys that don't affect the model or its data, and in changes accepted when the run was resumed.

    Args:
        path: the run directory.
        checkpoint: see :func:`choose_checkpoint`.
        changes: ``key=value`` of this command, which don't count as edits.

    Raises:
        UserError: the run or checkpoint is missing, or the recipe was edited; the message names each key.
    """
    recipe = load_run(path)
    chosen = choose_checkpoint(path, checkpoint)
    directory = RunDirectory(path)
    origin = read_origin(chosen, directory)
    now = Origin(directory.recipe.read_text(encoding="utf-8"))
    check_edits(compare(origin, now), directory.recipe, chosen / RECIPE)
    return load_run(path, changes) if changes else recipe, chosen


def load_run(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """Load the recipe of a run, with changes.

    Raises:
        UserError: the folder contains no run, or its recipe is invalid.
    """
    directory = RunDirectory(path)
    if not path.exists():
        raise UserError(f"run directory {path} does not exist")
    if not directory.recipe.is_file():
        raise UserError(f"{path} is not a run directory: recipe.yaml is missing")
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
    """Return a checkpoint of a run.

    Args:
        path: the run directory.
        name: ``best`` (the newest if nothing was validated), ``last``, or the name of one (``step-00001000``).

    Raises:
        UserError: there is none of this name, or none at all.
    """
    checkpoints = Checkpoints(RunDirectory(path).checkpoints)
    if name not in ("best", "last"):
        found = [candidate for candidate in checkpoints.paths() if candidate.name == name]
        if not found:
            names = ", ".join(candidate.name for candidate in checkpoints.paths()) or "none"
            raise UserError(f"--checkpoint: {path} has no checkpoint {name!r}; checkpoints: best, last, {names}")
        return found[0]
    try:
        chosen = (checkpoints.best() if name == "best" else None) or checkpoints.newest()
    except RunStopped as error:
        raise UserError(*str(error).splitlines()) from error
    if chosen is None:
        raise UserError(f"{path} has no checkpoint yet")
    return chosen


def load_checkpoint(model: MaskedModel, checkpoint: Path) -> None:
    """Load a checkpoint's weights, preferably the averaged ones.

    Raises:
        UserError: the checkpoint is damaged.
    """
    try:
        load_weights(model, checkpoint)
    except Damaged as error:
        raise UserError(f"{checkpoint} is damaged: {error}; choose another one with --checkpoint") from error
