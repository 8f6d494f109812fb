"""Checkpoint savers: rank 0 writes replicated models synchronously; all ranks write sharded models in the background."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from omnimask.training.checkpoints import durable_files as files
from omnimask.training.checkpoints.contents import TRAINING, TrainingState, write_training
from omnimask.training.checkpoints.directory import SHARDS, Checkpoints
from omnimask.training.devices.ranks import Joined, Ranks


@dataclass(frozen=True)
class Saved:
    """Published checkpoint."""

    path: Path
    is_best: bool


class Saver:
    """Saver for replicated models: rank 0 writes, the other ranks wait and share its failure.

    Args:
        checkpoints: of the run.
        state: to save.
        versions: of packages, recorded in every checkpoint.
        ranks: processes that train together.
        run: the run's folder, for messages.
    """

    def __init__(
        self, checkpoints: Checkpoints, state: TrainingState, versions: Mapping[str, str], ranks: Ranks, run: Path
    ) -> None:
        self.checkpoints = checkpoints
        self.state = state
        self.versions = versions
        self.ranks = ranks
        self.run = run
        self._saved: list[Saved] = []

    def save(self, before: Callable[[], None], *, is_best: bool) -> None:
        """Write the current step, then remove old checkpoints. All ranks must call it.

        Args:
            before: called by rank 0 before writing.
            is_best: whether the last validation is the best.

        Raises:
            RunStopped: the disk cannot be written.
        """

        def write() -> Path:
            with files.writing(self.checkpoints.directory, self.run):
                before()
                path = self.state.save(self.checkpoints, self.versions)
                self._tidy(path, self.state.progress.best_loss if is_best else None)
            return path

        self._saved.append(Saved(self.ranks.first(write), is_best))

    def finished(self, *, is_waiting: bool = False) -> list[Saved]:
        """Return the checkpoints published since the last call. If ``is_waiting``, wait for all pending ones.

        Raises:
            RunStopped: a checkpoint could not be written.
        """
        saved, self._saved = self._saved, []
        return saved

    def _tidy(self, path: Path, best_loss: float | None) -> None:
        if best_loss is not None:
            self.checkpoints.mark_best(path, best_loss)
        self.checkpoints.prune()


class ShardSaver(Saver):
    """Saver for sharded models: each rank copies its shards to the host, and a thread writes them while training continues.

    Rank 0 publishes after DCP's last message, when all ranks are done, so a checkpoint is complete or absent. Only one is written
    at a time; the next one waits for it.
    """

    def __init__(
        self, checkpoints: Checkpoints, state: TrainingState, versions: Mapping[str, str], ranks: Joined, run: Path
    ) -> None:
        super().__init__(checkpoints, state, versions, ranks, run)
        self._group = ranks.saving_group
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._pending: list[tuple[Future[Path], bool]] = []

    def save(self, before: Callable[[], None], *, is_best: bool) -> None:
        """Copy the current step to the host and start writing it, after the previous save has finished."""
        step = self.state.progress.step

        def begin() -> Path:
            with files.writing(self.checkpoints.directory, self.run):
                before()
                return self.checkpoints.begin(step)

        temporary = self.ranks.first(begin)
        tensors, training = self.state.staged(self._group)
        best_loss = self.state.progress.best_loss if is_best else None
        cursor = asdict(self.state.progress.cursor)
        self._pending.append((self._thread.submit(self._write, step, temporary, tensors, training, cursor, best_loss), is_best))

    def finished(self, *, is_waiting: bool = False) -> list[Saved]:
        saved: list[Saved] = []
        while self._pending and (is_waiting or self._pending[0][0].done()):
            future, is_best = self._pending.pop(0)
            saved.append(Saved(future.result(), is_best))
        return saved

    def _write(
        self,
        step: int,
        temporary: Path,
        tensors: Mapping[str, Tensor],
        training: Mapping[str, Any],
        cursor: Mapping[str, int],
        best_loss: float | None,
    ) -> Path:
        from omnimask.training.checkpoints import fsdp_files as sharded_files

        path = self.checkpoints.path(step)
        try:
            sharded_files.write(temporary / SHARDS, tensors, self._group)
            if self.ranks.is_first:
                writers = {TRAINING: lambda file: write_training(training, file)}
                self.checkpoints.commit(step, writers, cursor=cursor, versions=self.versions)
                self._tidy(path, best_loss)
        except OSError as error:
            if self.ranks.is_first:
                shutil.rmtree(temporary, ignore_errors=True)
            raise files.stopped(error, path, self.run) from error
        return path
