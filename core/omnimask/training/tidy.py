"""Before the first step of an attempt: a run's folder agrees with the step that it continues from."""

from __future__ import annotations

from omnimask.errors import UserError
from omnimask.training import files
from omnimask.training.checkpoint import Checkpoints
from omnimask.training.metrics import MetricsFile
from omnimask.training.progress import Progress
from omnimask.training.run_directory import RunDirectory


def tidy(
    directory: RunDirectory, checkpoints: Checkpoints, metrics: MetricsFile, progress: Progress, *, continues: bool
) -> Progress:
    """Removes what earlier attempts left half-written or wrote after this step, and counts the attempt.

    Args:
        directory, checkpoints, metrics: of the run.
        progress: where it continues; changed in place and returned.
        continues: whether it was restored; False for a new run.

    Raises:
        UserError: the folder holds a run that was not restored.
        RunStopped: the disk refuses.
    """
    if not continues and (checkpoints.paths() or metrics.last_attempt()):
        raise UserError(f"{directory.path} holds a run already; continue it with `omnimask resume {directory.path}`")
    with files.writing(directory.path, directory.path):
        checkpoints.clean()
        directory.summary.unlink(missing_ok=True)  # of the attempt before: it says nothing of this one
        if continues:
            progress.attempt = max(progress.attempt, metrics.last_attempt()) + 1
            metrics.cut(progress.step)
            checkpoints.set_aside(progress.step, progress.attempt)
            _point_at_best(checkpoints, progress)
            checkpoints.prune()  # a run that continues with fewer may do so because the disk is full
    return progress


def _point_at_best(checkpoints: Checkpoints, progress: Progress) -> None:
    path = None if progress.best_step is None else checkpoints.path(progress.best_step)
    if path is not None and path.is_dir() and progress.best_loss is not None:
        checkpoints.mark_best(path, progress.best_loss)
    else:
        progress.best_step = progress.best_loss = None
        progress.best_scores = {}
        checkpoints.forget_best()
