"""What a run tells: ``metrics.jsonl`` and ``logs/rank0.log``, and the observers of the run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Self, TextIO, TypeAlias

from omnimask.printable import printable
from omnimask.training import files
from omnimask.training.metrics import MetricsFile
from omnimask.training.observers import Observers, RunInfo
from omnimask.training.rate import Rate
from omnimask.training.step import StepResult
from omnimask.training.validation import Validation

Scores: TypeAlias = Mapping[str, Mapping[str, float]]
"""By term and name."""

_ROOT = logging.getLogger("omnimask")


class LogFile(logging.StreamHandler[TextIO]):
    """The log of a run, which is no display: whoever shows warnings tells it from other handlers by its class."""


class _Formatter(logging.Formatter):
    """Escapes what a log cannot hold: names of files that are no UTF-8, control characters."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep="\n\t")


class Journal:
    """Context manager around the steps of one attempt.

    Args:
        run: its lines are written into its folder, every ``log_every`` steps. Other ranks than 0 write a log file alone.
        observers: told of everything, after it was written.
    """

    def __init__(self, run: RunInfo, observers: Observers) -> None:
        self.metrics = MetricsFile(run.directory.metrics)
        self.observers = observers
        self._run = run
        self._handler: LogFile | None = None
        self._level = _ROOT.level
        self._recent = Rate()

    def __enter__(self) -> Self:
        self._level = _ROOT.level
        file = self._run.directory.logs / f"rank{self._run.rank}.log"
        with files.writing(file, self._run.directory.path):
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

    def step(self, result: StepResult, seconds: float) -> None:
        """After a step that was counted already; ``seconds`` is what it took. Raises ``OSError``."""
        self._recent.add(result.tokens, seconds)
        step, config = self._run.progress.step, self._run.config
        line = None
        if step == 1 or step == config.steps or step % config.log_every == 0:
            line = self._line(result, seconds)
            self._write(line)
            self._recent = Rate()
        self.observers.step_end(result, seconds, line)

    def validation(self, found: Validation, baselines: Scores, seconds: float) -> None:
        """After a validation; observers are told ``baselines`` of its scores too. Raises ``OSError``."""
        named = {f"validation_{name}": value for name, value in found.terms.items()}
        for term, scores in found.scores.items():
            named |= {f"validation_{term}_{name}": value for name, value in scores.items()}
        head = {"step": self._run.progress.step, "attempt": self._run.progress.attempt}
        line = {**head, **named, "validation_loss": found.loss, "seconds": seconds}
        self._write(line)
        self.observers.validated(found, baselines, line)

    def _line(self, result: StepResult, seconds: float) -> dict[str, Any]:
        progress = self._run.progress
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
            "tokens_per_second": self._recent.tokens_per_second,
            "total_tokens": progress.tokens,
            "total_samples": progress.samples,
            "total_seconds": progress.seconds,
            "skipped_steps": progress.skipped_steps,
            "bad_samples": len(progress.bad_samples),
            "retries": progress.retries,
            **result.masking,
        }

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._run.rank == 0:
            self.metrics.append(line)
