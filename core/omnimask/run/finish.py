"""Trains a run to its end and leaves its figures."""

from __future__ import annotations

from typing import Any

import torch

from omnimask.builder import build
from omnimask.run.figures import draw_run
from omnimask.run.prepare import Run
from omnimask.run.resume import choose_checkpoint, load_checkpoint
from omnimask.training import files
from omnimask.training.deadline import Deadline
from omnimask.training.precision import Precision

FIGURE = "reconstructions"


def finish(run: Run, deadline: Deadline | None = None) -> dict[str, Any]:
    """Trains to the last step, then draws ``figures/reconstructions`` from the best checkpoint (rank 0); returns the summary.

    Raises:
        RunStopped: data, numbers or the disk end the run.
        Interrupted: a signal or the deadline ended it, after a checkpoint.
    """
    summary = run.trainer.fit(deadline)
    if run.trainer.ranks.is_first:
        draw(run)
    return summary


def draw(run: Run) -> None:
    """The figure of a finished run; its model then holds the best checkpoint's weights."""
    directory, built, precision = run.directory, run.built, run.trainer.precision
    checkpoint = choose_checkpoint(directory.path, "best")
    if run.trainer.runner.parallel.is_sharded:  # no rank has the whole model
        built, precision = build(run.recipe, initialise=False), Precision("auto", torch.device("cpu"))
    load_checkpoint(built.model, checkpoint)
    title = f"{directory.path.resolve().name}: {_kind(run)} samples, {checkpoint.name}"
    try:
        draw_run(built, precision, directory.figures / FIGURE, title=title)
    except OSError as error:
        raise files.stopped(error, directory.figures, directory.path) from error


def _kind(run: Run) -> str:
    return "held-out" if len(run.built.validation_indices) else "training"
