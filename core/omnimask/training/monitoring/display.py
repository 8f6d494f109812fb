"""Display of a run on stderr: progress, validations and warnings."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Mapping

from rich.console import Console

from omnimask.data import progress_lines as paced
from omnimask.interfaces.answers import ACCURACY
from omnimask.registry.observers import Observer, RunInfo, StepResult, Validation
from omnimask.training.monitoring.console import Bar, LineView, ProgressView, Reading, spreads
from omnimask.training.monitoring.journal import LogFile
from omnimask.training.monitoring.notebook import Cell
from omnimask.training.monitoring.throughput import Rate

_ROOT = logging.getLogger("omnimask")
PROGRESS = paced.logger.name
"""Logger of progress messages for long operations."""


class Display(Observer):
    """Display of one attempt of a run. Warnings of the framework and progress of long operations appear above the progress bar.

    Errors are not displayed: they are also raised, and the caller reports them.
    """

    def __init__(self, run: RunInfo) -> None:
        self._run = run
        self._view: ProgressView = open_view()
        self._reading: Reading | None = None
        self._recent, self._session = Rate(), Rate()
        self._handler = _ViewHandler(self._view)
        if not _is_configured():  # an application that configured logging keeps its own display
            _ROOT.addHandler(self._handler)

    def after_step(self, *, result: StepResult, seconds: float, line: object) -> None:
        """Show the rate since the last line of the metrics, and the remaining time at the average rate of the attempt."""
        self._recent.add(result.tokens, seconds)
        self._session.add(result.tokens, seconds)
        progress, steps = self._run.progress, self._run.config.steps
        left = self._session.seconds / self._session.steps * (steps - progress.step)
        rate, (accuracy, _) = self._recent.tokens_per_second, accuracies(progress.validation_scores, {})
        self._reading = Reading(progress.step, steps, result.loss, rate, progress.validation_loss, left, accuracy)
        self._view.show(self._reading)
        if line is not None:
            self._recent = Rate()

    def validated(self, *, result: Validation, baselines: Mapping[str, Mapping[str, float]], line: object) -> None:
        """Show the loss, the accuracy with its baseline, and the spread of learned answers."""
        if self._reading is not None:
            accuracy, baseline = accuracies(result.scores, baselines)
            shown = dataclasses.replace(self._reading, validation_loss=result.loss, validation_accuracy=accuracy)
            self._view.validated(dataclasses.replace(shown, baseline_accuracy=baseline, learned=spreads(result.learned)))

    def run_end(self, *, status: object) -> None:
        """Restore the terminal."""
        _ROOT.removeHandler(self._handler)
        self._view.close()


def open_view() -> ProgressView:
    """Return the display for this process's stderr."""
    console = Console(file=sys.stderr)
    if console.is_jupyter:
        return Cell(Console(file=sys.stderr, force_jupyter=False))
    return Bar(console) if console.is_terminal else LineView(console)


def accuracies(
    scores: Mapping[str, Mapping[str, float]], baselines: Mapping[str, Mapping[str, float]]
) -> tuple[float | None, float | None]:
    """Return the accuracy of the first term with one, and of its baseline."""
    for term, found in scores.items():
        if ACCURACY in found:
            return found[ACCURACY], baselines.get(term, {}).get(ACCURACY)
    return None, None


def _is_configured() -> bool:
    """Return whether logging has handlers besides the log file of the run."""
    return bool(logging.getLogger().handlers) or not all(
        isinstance(each, (logging.FileHandler, LogFile)) for each in _ROOT.handlers
    )


class _ViewHandler(logging.Handler):
    def __init__(self, view: ProgressView) -> None:
        super().__init__(logging.INFO)
        self._view = view
        self.addFilter(lambda record: record.name == PROGRESS or logging.WARNING <= record.levelno < logging.ERROR)

    def format(self, record: logging.LogRecord) -> str:
        return record.getMessage() if record.levelno < logging.WARNING else f"{record.levelname}: {record.getMessage()}"

    def emit(self, record: logging.LogRecord) -> None:
        self._view.message(self.format(record))
