"""TensorBoard events."""

from __future__ import annotations

import importlib.util
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from omnimask.errors import UserError
from omnimask.registry.observers import Observer, RunInfo
from omnimask.training.checkpoints import durable_files as files
from omnimask.training.config import TrainConfig


class TensorBoard(Observer):
    """Observer that writes every number of ``metrics.jsonl`` as a scalar to ``logs/tensorboard``.

    Args:
        run: events of an earlier attempt after its current step are purged.
    """

    def __init__(self, run: RunInfo) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._home, self._folder = run.directory, run.directory / "logs" / "tensorboard"
        with self._writing():
            self._writer: Any = SummaryWriter(str(self._folder), purge_step=run.progress.step + 1)

    def after_step(self, *, result: object, seconds: float, line: Mapping[str, Any] | None) -> None:
        """Write the numbers of a step's line."""
        if line is not None:
            self._add(line)

    def validated(self, *, result: object, baselines: object, line: Mapping[str, Any]) -> None:
        """Write losses and scores of held-out samples."""
        self._add(line)

    def checkpoint_saved(self, *, path: object, is_best: bool) -> None:
        """Flush the events so far."""
        with self._writing():
            self._writer.flush()

    def run_end(self, *, status: object) -> None:
        """Flush and close the writer."""
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
            raise files.stopped(error, self._folder, self._home) from error


def check_tensorboard(config: TrainConfig) -> None:
    """Raise ``UserError`` if TensorBoard is requested but missing."""
    if config.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise UserError("train.tensorboard needs TensorBoard: pip install 'omnimask[tensorboard]'")
