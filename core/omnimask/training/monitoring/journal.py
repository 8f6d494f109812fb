"""Output of a run: ``metrics.jsonl``, ``logs/rank0.log``, and calls of the observers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Self, TextIO

from omnimask.messages.printable import printable
from omnimask.registry.observers import RunInfo, StepResult, Validation
from omnimask.training.checkpoints import durable_files as files
from omnimask.training.checkpoints.run_directory import RunDirectory
from omnimask.training.monitoring.jsonl_writer import MetricsFile
from omnimask.training.monitoring.metrics import LoggedStep, step_line, validation_line
from omnimask.training.monitoring.observers import Observers
from omnimask.training.monitoring.throughput import Rate

_ROOT = logging.getLogger("omnimask")


class LogFile(logging.StreamHandler[TextIO]):
    """Log file of a run. Its class distinguishes it from display handlers."""


class _Formatter(logging.Formatter):
    """Formatter that escapes control characters and non-UTF-8 file names."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep="\n\t")


class Journal:
    """Context manager around the steps of one attempt.

    Args:
        run: metrics are written to its folder every ``log_every`` steps. Ranks other than 0 write only a log file.
        observers: called after each write.
    """

    def __init__(self, run: RunInfo, observers: Observers) -> None:
        self._directory = RunDirectory(run.directory)
        self.metrics = MetricsFile(self._directory.metrics)
        self.observers = observers
        self._run = run
        self._handler: LogFile | None = None
        self._level = _ROOT.level
        self._recent = Rate()

    def __enter__(self) -> Self:
        self._level = _ROOT.level
        file = self._directory.logs / f"rank{self._run.rank}.log"
        with files.writing(file, self._directory.path):
            self._handler = LogFile(files.open_own(file))
        self._handler.setLevel(logging.INFO)
        self._handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        _ROOT.addHandler(self._handler)
        if not _ROOT.isEnabledFor(logging.INFO):
            _ROOT.setLevel(logging.INFO)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._handler is not None:
            _ROOT.removeHandler(self._handler)
            self._handler.close()
            self._handler.stream.close()
        _ROOT.setLevel(self._level)
        self.metrics.close()

    def step(self, result: StepResult, seconds: float, bad_samples: int) -> None:
        """Log a step after it was counted. Raise ``OSError`` if writing fails.

        Args:
            result: of the step.
            seconds: wall-clock time of the step.
            bad_samples: different unreadable samples of the run so far.
        """
        self._recent.add(result.tokens, seconds)
        step, config = self._run.progress.step, self._run.config
        line = None
        if step == 1 or step == config.steps or step % config.log_every == 0:
            line = step_line(LoggedStep(result, self._run.progress, seconds, self._recent.tokens_per_second, bad_samples))
            line |= self.observers.metrics(result, line)
            self._write(line)
            self._recent = Rate()
        self.observers.after_step(result, seconds, line)

    def validation(self, found: Validation, baselines: Mapping[str, Mapping[str, float]], seconds: float) -> None:
        """Log a validation and pass it with ``baselines`` to the observers. Raise ``OSError`` if writing fails."""
        line = validation_line(found, self._run.progress, seconds)
        self._write(line)
        self.observers.validated(found, baselines, line)

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._run.rank == 0:
            self.metrics.append(line)
