"""What a run tells: ``metrics.jsonl``, ``logs/rank0.log``, the console, and TensorBoard where it is wanted."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeAlias

from omnimask.answers import ACCURACY
from omnimask.errors import UserError
from omnimask.training.config import TrainConfig
from omnimask.training.console import Reading, View, open_view
from omnimask.training.metrics import MetricsFile
from omnimask.training.progress import Progress
from omnimask.training.run_directory import RunDirectory
from omnimask.training.step import StepResult
from omnimask.training.validation import Validation

Scores: TypeAlias = Mapping[str, Mapping[str, float]]
"""By term and name."""

_ROOT = logging.getLogger("omnimask")


class Journal:
    """Context manager around the steps of one attempt.

    Args:
        directory: of the run.
        config: how often lines are written, and whether TensorBoard is.
        progress: read at every line.
        rank: names the log file; other ranks than 0 write nothing else.
        show: whether the console shows progress and warnings.
    """

    def __init__(
        self, directory: RunDirectory, config: TrainConfig, progress: Progress, *, rank: int = 0, show: bool = True
    ) -> None:
        self.metrics = MetricsFile(directory.metrics)
        self._directory = directory
        self._config = config
        self._progress = progress
        self._rank = rank
        self._show = show and rank == 0
        self._view: View = open_view(False)
        self._reading: Reading | None = None
        self._handlers: list[logging.Handler] = []
        self._level = _ROOT.level
        self._tensorboard: Any = None
        self._window = _Window()
        self._session = _Window()

    def __enter__(self) -> Self:
        self._view = open_view(self._show)
        self._level = _ROOT.level
        if self._show and not _ROOT.hasHandlers():  # an application that configured logging keeps its own display
            self._attach(_ViewHandler(self._view), logging.WARNING)
        self._attach(logging.FileHandler(self._directory.logs / f"rank{self._rank}.log", encoding="utf-8"), logging.INFO)
        if not _ROOT.isEnabledFor(logging.INFO):
            _ROOT.setLevel(logging.INFO)
        if self._config.tensorboard and self._rank == 0:
            self._tensorboard = _open_tensorboard(self._directory.logs / "tensorboard", self._progress.step)
        return self

    def __exit__(self, *exception: object) -> None:
        for handler in self._handlers:
            _ROOT.removeHandler(handler)
            handler.close()
        self._handlers.clear()
        _ROOT.setLevel(self._level)
        self._view.close()
        self.metrics.close()
        if self._tensorboard is not None:
            self._tensorboard.close()

    def step(self, result: StepResult, seconds: float) -> None:
        """After a step that was counted already; ``seconds`` is what it took. Raises ``OSError``."""
        self._window.add(result.tokens, seconds)
        self._session.add(result.tokens, seconds)
        step, steps = self._progress.step, self._config.steps
        self._reading = self._read(result)
        self._view.show(self._reading)
        if step == 1 or step == steps or step % self._config.log_every == 0:
            self._write(self._line(result, seconds))
            self._window = _Window()

    def validation(self, found: Validation, baselines: Scores, seconds: float) -> None:
        """After a validation; ``baselines`` of its scores are shown beside them. Raises ``OSError``."""
        named = {f"validation_{name}": value for name, value in found.terms.items()}
        for term, scores in found.scores.items():
            named |= {f"validation_{term}_{name}": value for name, value in scores.items()}
        head = {"step": self._progress.step, "attempt": self._progress.attempt}
        if self._reading is not None:
            accuracy, baseline = accuracies(found.scores, baselines)
            shown = dataclasses.replace(self._reading, validation_loss=found.loss, validation_accuracy=accuracy)
            self._view.validated(dataclasses.replace(shown, baseline_accuracy=baseline))
        self._write({**head, **named, "validation_loss": found.loss, "seconds": seconds})

    def _line(self, result: StepResult, seconds: float) -> dict[str, Any]:
        progress = self._progress
        return {
            "step": progress.step,
            "attempt": progress.attempt,
            **{name: term.item() for name, term in result.terms.items()},
            "loss": result.loss,
            "lr": result.lr,
            "grad_norm": result.grad_norm,
            "tokens": result.tokens,
            "samples": result.samples,
            "seconds": seconds,
            "tokens_per_second": self._window.rate,
            "total_tokens": progress.tokens,
            "total_samples": progress.samples,
            "total_seconds": progress.seconds,
            "skipped_steps": progress.skipped_steps,
            "bad_samples": len(progress.bad_samples),
        }

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._rank == 0:
            self.metrics.append(line)
        if self._tensorboard is not None:
            for name in line.keys() - {"step", "attempt"}:
                self._tensorboard.add_scalar(name, line[name], line["step"])

    def _read(self, result: StepResult) -> Reading:
        progress, steps = self._progress, self._config.steps
        per_step = self._session.seconds / self._session.steps
        left = per_step * (steps - progress.step)
        accuracy, _ = accuracies(progress.validation_scores, {})
        return Reading(progress.step, steps, result.loss, self._window.rate, progress.validation_loss, left, accuracy)

    def _attach(self, handler: logging.Handler, level: int) -> None:
        handler.setLevel(level)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        if isinstance(handler, _ViewHandler):
            handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
        _ROOT.addHandler(handler)
        self._handlers.append(handler)


def accuracies(scores: Scores, baselines: Scores) -> tuple[float | None, float | None]:
    """Of the first term that has one, and of its baseline."""
    for term, found in scores.items():
        if ACCURACY in found:
            return found[ACCURACY], baselines.get(term, {}).get(ACCURACY)
    return None, None


class _Window:
    """Tokens and seconds of some steps."""

    def __init__(self) -> None:
        self.steps = 0
        self.tokens = 0
        self.seconds = 0.0

    def add(self, tokens: int, seconds: float) -> None:
        self.steps += 1
        self.tokens += tokens
        self.seconds += seconds

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds if self.seconds > 0 else 0.0


class _ViewHandler(logging.Handler):
    """Shows warnings above the progress bar; errors are raised too, and whoever started the run shows them."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self._view = view
        self.addFilter(lambda record: record.levelno < logging.ERROR)

    def emit(self, record: logging.LogRecord) -> None:
        self._view.message(self.format(record))


def check_tensorboard(config: TrainConfig) -> None:
    """Raises ``UserError`` if TensorBoard is wanted and not installed."""
    if config.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise UserError("train.tensorboard needs TensorBoard: pip install 'omnimask[tensorboard]'")


def _open_tensorboard(path: Path, step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(path), purge_step=step + 1)
