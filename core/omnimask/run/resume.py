"""Continues a run: reads its recipe, applies the changes that leave its meaning alone, and takes up its newest checkpoint."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omnimask.builder import Built
from omnimask.data.contents import FINGERPRINT_FORMAT
from omnimask.errors import RunStopped, UserError
from omnimask.model import MaskedModel
from omnimask.recipe import Recipe, load_recipe
from omnimask.recipe.text import inline, parse
from omnimask.run.prepare import Run, prepare, start, with_absolute_paths
from omnimask.training import files
from omnimask.training.checkpoint import Checkpoints, Damaged
from omnimask.training.metrics import read_metrics
from omnimask.training.ranks import current
from omnimask.training.run_directory import RunDirectory
from omnimask.training.state import load_weights

logger = logging.getLogger(__name__)

MAY_CHANGE = (
    "train.steps",
    "train.workers",
    "train.log_every",
    "train.validate_every",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "train.micro_batch_tokens",
    "train.activation_checkpointing",
    "train.distributed",
    "train.timeout",
    "device",
    "data.path",
    "data.url",
    "data.cache",
    "data.max_bad",
)
"""What a resumed run may do differently: how long, how fast, where; never what it learns from which samples."""


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
    return load_recipe(directory.recipe, changes)


def start_or_reopen(recipe: Recipe, path: Path, *, show: bool = True) -> Run:
    """A new run, or the one that the folder holds already: a command that may be given again and again.

    Raises:
        UserError: what :func:`start` and :func:`reopen` refuse, among it a recipe that is no longer that of the run.
        RunStopped: the folder cannot be written.
    """
    if not current().first(RunDirectory(path).recipe.is_file):
        return start(recipe, path, show=show)
    return _reopen(path, lambda: (load_run(path), with_absolute_paths(recipe)), show=show)


def reopen(path: Path, changes: Sequence[str] = (), *, show: bool = True) -> Run:
    """A run that continues from its newest intact checkpoint when its trainer's ``fit`` is called; changes are written down.

    A run that was stopped before its first checkpoint begins anew, which loses nothing but time.

    Raises:
        UserError: there is nothing to continue, a change is not allowed, or the data are not those of the run.
    """
    return _reopen(path, lambda: (load_run(path), load_run(path, changes)), show=show)


def _reopen(path: Path, load: Callable[[], tuple[Recipe, Recipe]], *, show: bool) -> Run:
    """``load`` gives the run's recipe and what it is to be."""
    ranks = current()
    with ranks.together():
        before, recipe = load()
        _check_changes(before, recipe, path)
        _check_checkpoints(before, RunDirectory(path))
    run = prepare(recipe, path, show=show, initialise=not Checkpoints(RunDirectory(path).checkpoints).paths())
    with ranks.together():
        check_fingerprint(run.directory, run.built)
    with ranks.together():
        try:
            checkpoint = run.trainer.restore()
        except RunStopped as error:
            raise UserError(*str(error).splitlines()) from error
    if checkpoint is None:
        logger.info("%s was stopped before its first checkpoint and begins anew", path)
    ranks.first(lambda: _write_recipe(run, before))
    return run


def is_finished(run: Run) -> bool:
    """Whether nothing is left to do: all steps are taken, and the summary says so."""
    try:
        summary = json.loads(run.directory.summary.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return summary.get("status") == "finished" and run.trainer.progress.step >= run.recipe.train.steps


def check_fingerprint(directory: RunDirectory, built: Built) -> None:
    """Refuses data that are not those that the run began with.

    Raises:
        UserError: they differ.
    """
    try:
        recorded: Mapping[str, Any] = json.loads(directory.environment.read_text(encoding="utf-8"))["data"]
    except (OSError, ValueError, KeyError):
        logger.warning("%s does not say which data the run began with; they are not compared", directory.environment)
        return
    if recorded["fingerprint"] == built.dataset.fingerprint():
        return
    if recorded.get("format") != FINGERPRINT_FORMAT and recorded["samples"] == len(built.dataset):
        logger.warning("the run began with a version that kept another fingerprint of its data; only their number is compared")
    else:
        raise UserError(
            f"data: these are not the data that the run began with ({recorded['samples']} samples then, {len(built.dataset)} now; "
            "their names or contents differ), so it cannot continue exactly; give the former data with data.path=..., "
            "or begin a new run"
        )


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


def _check_changes(before: Recipe, after: Recipe, path: Path) -> None:
    old, new = _flat(before), _flat(after)
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    allowed = ", ".join(MAY_CHANGE)
    problems = [
        f"{key}: {old.get(key, 'nothing')} cannot become {new.get(key, 'nothing')} in a run that has begun"
        for key in changed
        if not any(key == name or key.startswith(f"{name}.") for name in MAY_CHANGE)
    ]
    if problems:
        raise UserError(*problems, f"a resumed run may change {allowed}; for anything else begin a new run")
    if after.train.steps < before.train.steps:
        raise UserError(f"train.steps: {before.train.steps} can only grow, not become {after.train.steps}")


def _flat(recipe: Recipe) -> dict[str, str]:
    return dict(_leaves(parse(recipe.to_yaml(), "recipe").data, ()))


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Every value that is no mapping, by its dotted path, as a recipe writes it."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield from _leaves(item, (*path, str(number)))
    else:
        yield ".".join(path), inline(value)


def _check_checkpoints(recipe: Recipe, directory: RunDirectory) -> None:
    """Raises if the run went past its first checkpoint, and there is none any more."""
    if Checkpoints(directory.checkpoints).paths() or not directory.metrics.exists():
        return
    last = max((line["step"] for line in read_metrics(directory.metrics)), default=0)
    if last > recipe.train.checkpoint_every:
        raise UserError(f"{directory.path} reached step {last}, and its checkpoints are gone; there is nothing to continue from")


def _write_recipe(run: Run, before: Recipe) -> None:
    """Changes last: the next resume begins with them. The former recipe stays in ``logs/``."""
    if run.recipe == before:
        return
    directory = run.directory
    kept = directory.logs / f"recipe-until-step-{run.trainer.progress.step:08d}.yaml"
    try:
        directory.prepare()
        with directory.locked():
            files.replace(kept, before.to_yaml().encode())
            files.replace(directory.recipe, run.recipe.to_yaml().encode())
    except OSError as error:
        raise files.stopped(error, directory.recipe, directory.path) from error
