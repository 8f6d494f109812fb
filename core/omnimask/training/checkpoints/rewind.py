"""Preparation of a run's folder for an attempt: removes or sets aside all output after the step to continue from."""

from __future__ import annotations

from collections.abc import Callable

from omnimask.errors import UserError
from omnimask.training.checkpoints import durable_files as files
from omnimask.training.checkpoints.directory import Checkpoints
from omnimask.training.checkpoints.run_directory import RunDirectory
from omnimask.training.counters import Counters
from omnimask.training.devices.ranks import Ranks
from omnimask.training.monitoring.jsonl_writer import MetricsFile


class Folder:
    """Folder of a run during one attempt, unchanged until :meth:`settle`, so a failure before the first step changes nothing.

    Increments the attempt at once. A new run is settled immediately.

    Args:
        directory, checkpoints, metrics: of the run.
        progress: counters to continue from; changed in place.
        ranks: processes that train together; rank 0 changes the disk.
        continues: whether the run was restored; False for a new one.
        adopt: called once by rank 0 when the folder is settled.

    Raises:
        UserError: the folder holds a run that was not restored.
        RunStopped: the disk cannot be written.
    """

    def __init__(
        self,
        directory: RunDirectory,
        checkpoints: Checkpoints,
        metrics: MetricsFile,
        progress: Counters,
        ranks: Ranks,
        *,
        continues: bool,
        adopt: Callable[[], None] | None = None,
    ) -> None:
        self.directory, self.checkpoints, self.metrics, self.progress = directory, checkpoints, metrics, progress
        self.ranks, self.continues, self.adopt = ranks, continues, adopt
        self.is_settled = False
        progress.attempt = ranks.first(self._attempt)
        if not continues:
            self.settle()

    def settle(self) -> None:
        """Remove partial files of earlier attempts, and remove or set aside all output after this step. Later calls do nothing."""
        if self.is_settled:
            return
        vars(self.progress).update(vars(self.ranks.first(self._tidied)))
        if self.adopt is not None:
            self.ranks.first(self.adopt)
        self.is_settled = True

    def _attempt(self) -> int:
        if self.continues:
            return max(self.progress.attempt, self.metrics.last_attempt()) + 1
        if self.checkpoints.paths() or self.metrics.last_attempt():
            path = self.directory.path
            raise UserError(f"{path} already contains a run; continue it with `omnimask resume {path}`")
        return self.progress.attempt

    def _tidied(self) -> Counters:
        checkpoints, progress = self.checkpoints, self.progress
        with files.writing(self.directory.path, self.directory.path):
            checkpoints.clean()
            self.directory.summary.unlink(missing_ok=True)  # it describes the previous attempt
            if self.continues:
                self.metrics.cut(progress.step)
                checkpoints.set_aside(progress.step, progress.attempt)
                _point_at_best(checkpoints, progress)
                checkpoints.prune()  # a run that continues with fewer may do so because the disk is full
        return progress


def _point_at_best(checkpoints: Checkpoints, progress: Counters) -> None:
    path = None if progress.best_step is None else checkpoints.path(progress.best_step)
    if path is not None and path.is_dir() and progress.best_loss is not None:
        checkpoints.mark_best(path, progress.best_loss)
    else:
        progress.best_step = progress.best_loss = None
        progress.best_scores = {}
        checkpoints.forget_best()
