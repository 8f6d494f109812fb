"""Resuming of runs: reads the recipe, applies allowed changes, and restores the newest checkpoint."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omnimask.builder.build import Built
from omnimask.data.file_digests import FINGERPRINT_FORMAT
from omnimask.errors import RunStopped, UserError
from omnimask.recipe import Recipe
from omnimask.recipe.yaml_text import parse
from omnimask.run.changes import Changes, check, compare, remember
from omnimask.run.prepare import PreparedRun, prepare, start, with_absolute_paths
from omnimask.run.provenance import Origin, origin_of, read_origin
from omnimask.run.trained_run import load_run
from omnimask.training.checkpoints import durable_files as files
from omnimask.training.checkpoints.directory import Checkpoints
from omnimask.training.checkpoints.run_directory import RunDirectory
from omnimask.training.devices.ranks import current
from omnimask.training.monitoring.jsonl_writer import read_metrics

logger = logging.getLogger(__name__)


def start_or_reopen(recipe: Recipe, path: Path, *, show: bool = True) -> PreparedRun:
    """Start a new run, or reopen the one in the folder, so a command can be repeated.

    Raises:
        UserError: as in :func:`start` and :func:`reopen`, including a recipe other than that of the run.
        RunStopped: the folder cannot be written.
    """
    if not current().first(RunDirectory(path).recipe.is_file):
        return start(recipe, path, show=show)
    return _reopen(path, lambda: with_absolute_paths(recipe), (), show=show)


def reopen(path: Path, changes: Sequence[str] = (), accept: Sequence[str] = (), *, show: bool = True) -> PreparedRun:
    """Return a run that continues from its newest intact checkpoint when its trainer's ``fit`` is called.

    Everything that defines the run is compared with the checkpoint: each key of the recipe, from the file, ``changes``
    and current defaults, and the source of the plugins in use. The folder stays unchanged until the first step. A run stopped
    before its first checkpoint starts anew, which costs only time.

    Args:
        path: the run's folder.
        changes: ``key=value``.
        accept: keys allowed to differ although they make it another run; ``source.<package>`` for a plugin's code.
        show: whether progress is shown.

    Raises:
        UserError: there is nothing to continue, an unaccepted difference exists, or the data are not those of the run.
    """
    return _reopen(path, lambda: load_run(path, changes), accept, show=show)


def _reopen(path: Path, load: Callable[[], Recipe], accept: Sequence[str], *, show: bool) -> PreparedRun:
    """Reopen a run; ``load`` returns its new recipe."""
    ranks, directory = current(), RunDirectory(path)
    with ranks.together():
        recipe = load()
    checkpoint = ranks.first(lambda: _newest(directory))
    with ranks.together():
        origin = read_origin(checkpoint, directory)
        found = _compared(origin, recipe, checkpoint or path, accept, path)
        if checkpoint is None:
            _check_checkpoints(origin, directory)
    run = prepare(recipe, path, show=show, initialise=checkpoint is None)
    with ranks.together():
        check_fingerprint(run.directory, run.built)
    with ranks.together():
        try:
            run.trainer.restore(checkpoint, adopt=lambda: _adopt(run, found), renews_optimizer=_concern_rate(found, recipe))
        except RunStopped as error:
            raise UserError(*str(error).splitlines()) from error
    if checkpoint is None:
        logger.info("%s stopped before its first checkpoint; restarting from step 0", path)
    return run


def _concern_rate(found: Changes, recipe: Recipe) -> bool:
    """Return whether changes affect the optimizer's options, including a rate computed from the batch."""
    keys = ("train.optimizer", "train.base_lr", *(() if recipe.train.base_lr is None else ("train.batch_tokens",)))
    return any(found.concern(key) for key in keys)


def _newest(directory: RunDirectory) -> Path | None:
    try:
        return Checkpoints(directory.checkpoints).newest()
    except RunStopped as error:
        raise UserError(*str(error).splitlines()) from error


def _compared(origin: Origin, recipe: Recipe, written: Path, accept: Sequence[str], path: Path) -> Changes:
    if not origin.is_complete:
        logger.warning(
            "%s was written by an earlier version, without a recipe and digests of plugins: recipe.yaml is used "
            "as it is, and the plugins' source is not compared",
            written,
        )
    return check(compare(origin, origin_of(recipe)), accept, path)


def is_finished(run: PreparedRun) -> bool:
    """Return whether the run is complete: all steps are taken or ``train.patience`` is exhausted, according to the summary too."""
    try:
        summary = json.loads(run.directory.summary.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return summary.get("status") == "finished" and run.trainer.is_over


def check_fingerprint(directory: RunDirectory, built: Built) -> None:
    """Reject data other than those at the start of the run.

    Raises:
        UserError: they differ.
    """
    try:
        recorded: Mapping[str, Any] = json.loads(directory.environment.read_text(encoding="utf-8"))["data"]
    except (OSError, ValueError, KeyError):
        logger.warning("%s does not record the data of the run; the data are not compared", directory.environment)
        return
    if recorded["fingerprint"] == built.dataset.fingerprint():
        return
    if recorded.get("format") != FINGERPRINT_FORMAT and recorded["samples"] == len(built.dataset):
        logger.warning("the run was started by a version with another fingerprint of data; only the number of samples is compared")
    else:
        raise UserError(
            f"data: the data differ from those at the start of the run ({recorded['samples']} samples then, "
            f"{len(built.dataset)} now; "
            "their names or contents differ), so it cannot be resumed exactly; give the original data with "
            "data.path=..., or start a new run"
        )


def _check_checkpoints(origin: Origin, directory: RunDirectory) -> None:
    """Raise ``UserError`` if the run went past its first checkpoint and has none left."""
    if not directory.metrics.exists():
        return
    last = max((line["step"] for line in read_metrics(directory.metrics)), default=0)
    every = parse(origin.recipe, "recipe").data["train"]["checkpoint_every"]
    if last > every:
        raise UserError(f"{directory.path} reached step {last}, but its checkpoints are missing; it cannot be resumed")


def _adopt(run: PreparedRun, found: Changes) -> None:
    """Record the changes, so the next resume starts with them. The former recipe stays in ``logs/``."""
    directory, progress = run.directory, run.trainer.progress
    kept = directory.logs / f"recipe-until-step-{progress.step:08d}.yaml"
    with files.writing(directory.recipe, directory.path):
        remember(directory.path, found, step=progress.step, attempt=progress.attempt)
        before, text = directory.recipe.read_bytes(), run.origin.recipe.encode()
        if found.found and before != text:
            files.replace(kept, before)
            files.replace(directory.recipe, text)
