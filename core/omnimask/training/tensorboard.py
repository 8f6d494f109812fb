"""Events for TensorBoard, where a recipe asks for them."""

from __future__ import annotations

import importlib.util
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from omnimask.errors import UserError
from omnimask.hooks import hookimpl
from omnimask.training import files
from omnimask.training.config import TrainConfig
from omnimask.training.observers import RunInfo


class TensorBoard:
    """Observes a run: every number of ``metrics.jsonl`` is a scalar in ``logs/tensorboard``.

    Args:
        run: events after its present step, of an attempt that was cut off, are purged.
    """

    def __init__(self, run: RunInfo) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._directory = run.directory
        with self._writing():
            self._writer: Any = SummaryWriter(str(run.directory.logs / "tensorboard"), purge_step=run.progress.step + 1)

    @hookimpl
    def omnimask_step_end(self, line: Mapping[str, Any] | None) -> None:
        """Loss, terms, rate and the rest."""
        if line is not None:
            self._add(line)

    @hookimpl
    def omnimask_validated(self, line: Mapping[str, Any]) -> None:
        """Losses and scores of held-out samples."""
        self._add(line)

    @hookimpl
    def omnimask_checkpoint_saved(self) -> None:
        """What lies before a checkpoint survives whatever comes."""
        with self._writing():
            self._writer.flush()

    @hookimpl
    def omnimask_run_end(self) -> None:
        """Everything is on disk."""
        with self._writing():
            self._writer.close()

    def _add(self, line: Mapping[str, Any]) -> None:
        with self._writing():
            for name in line.keys() - {"step", "attempt"}:
                self._writer.add_scalar(name, line[name], line["step"])

    @contextmanager
    def _writing(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise files.stopped(error, self._directory.logs / "tensorboard", self._directory.path) from error


def check_tensorboard(config: TrainConfig) -> None:
    """Raises ``UserError`` if TensorBoard is wanted and not installed."""
    if config.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise UserError("train.tensorboard needs TensorBoard: pip install 'omnimask[tensorboard]'")
