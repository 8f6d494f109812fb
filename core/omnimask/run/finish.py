"""Training of a run to its end, with its figures."""

from __future__ import annotations

import logging
from typing import Any

import torch

from omnimask.builder.build import build
from omnimask.errors import RunStopped, UserError
from omnimask.registry.references import indented, trace
from omnimask.run.figures import draw_run
from omnimask.run.prepare import PreparedRun
from omnimask.run.trained_run import choose_checkpoint, load_checkpoint
from omnimask.training.deadline import Deadline
from omnimask.training.devices.precision import Precision

logger = logging.getLogger(__name__)

FIGURE = "reconstructions"


def finish(run: PreparedRun, deadline: Deadline | None = None) -> dict[str, Any]:
    """Train to the last step, draw ``figures/reconstructions`` from the best checkpoint (rank 0), and return the summary.

    Raises:
        RunStopped: data, non-finite numbers or the disk end the run.
        Interrupted: a signal or the deadline ended it, after a checkpoint.
    """
    summary = run.trainer.fit(deadline)
    if run.trainer.ranks.is_first:
        draw(run)
    return summary


def draw(run: PreparedRun) -> None:
    """Draw the figure of a finished run. A failure is a warning. Afterwards the model has the best checkpoint's weights."""
    try:
        _draw(run)
    except Exception as error:
        is_known = isinstance(error, (UserError, RunStopped, OSError))
        reason = str(error) if is_known else f"{type(error).__name__}: {error}\n{indented(trace(error))}"
        path = run.directory.path
        logger.warning(
            "the run is finished, but its figure could not be drawn (retry: `omnimask reconstruct %s`): %s", path, reason
        )


def _draw(run: PreparedRun) -> None:
    directory, built, precision = run.directory, run.built, run.trainer.precision
    checkpoint = choose_checkpoint(directory.path, "best")
    if run.trainer.runner.parallel.is_sharded:  # no rank has the whole model
        built, precision = build(run.recipe, initialise=False), Precision("auto", torch.device("cpu"))
    load_checkpoint(built.model, checkpoint)
    title = f"{directory.path.resolve().name}: {_kind(run)} samples, {checkpoint.name}"
    draw_run(built, precision, directory.figures / FIGURE, title=title)


def _kind(run: PreparedRun) -> str:
    return "held-out" if len(run.built.validation_indices) else "training"
