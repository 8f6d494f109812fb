"""Console output of a run on stderr: a progress bar in a terminal or notebook, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from omnimask.registry.observers import LearnedSpread

SECONDS_BETWEEN_LINES = 5.0


@dataclass(frozen=True)
class Reading:
    """Numbers to display.

    ``seconds_left`` is None before the first timed step, ``validation_loss`` before the first validation. ``validation_accuracy``
    and its baseline are given only if answers can be right or wrong. ``learned`` describes learned answers, if there are any.
    """

    step: int
    steps: int
    loss: float
    tokens_per_second: float
    validation_loss: float | None
    seconds_left: float | None
    validation_accuracy: float | None = None
    baseline_accuracy: float | None = None
    learned: str = ""

    @property
    def numbers(self) -> str:
        validation = "" if self.validation_loss is None else f"  val {self.validation_loss:.4f}"
        if validation and self.validation_accuracy is not None:
            validation += f" ({percent(self.validation_accuracy)})"
        return f"loss {self.loss:.4f}{validation}  {short(self.tokens_per_second)} tokens/s"


class ProgressView(Protocol):
    """Interface of all displays."""

    def show(self, reading: Reading) -> None: ...
    def validated(self, reading: Reading) -> None: ...
    def message(self, text: str) -> None: ...
    def close(self) -> None: ...


class Bar:
    """Progress bar. It starts with the first reading, after the loader's workers were created."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            MofNCompleteColumn(),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(compact=True),
            console=console,
        )
        self._task = self._progress.add_task("", total=None, start=False, numbers="")
        self._is_started = False

    def show(self, reading: Reading) -> None:
        if not self._is_started:
            self._is_started = True
            self._progress.start()
            self._progress.update(self._task, completed=reading.step - 1)
            self._progress.start_task(self._task)
        self._progress.update(self._task, completed=reading.step, total=reading.steps, numbers=reading.numbers)

    def validated(self, reading: Reading) -> None:
        self.show(reading)

    def message(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        if self._is_started:
            self._progress.stop()


class LineView:
    """Plain output: a line every few seconds, for the last step, and for every validation."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = -float("inf")

    def show(self, reading: Reading) -> None:
        now = time.monotonic()
        if now - self._last < SECONDS_BETWEEN_LINES and reading.step != reading.steps:
            return
        self._last = now
        left = "" if reading.seconds_left is None else f"  {duration(reading.seconds_left)} left"
        self.message(f"step {reading.step}/{reading.steps}  {reading.numbers}{left}")

    def validated(self, reading: Reading) -> None:
        accuracy = ""
        if reading.validation_accuracy is not None:
            accuracy = f", accuracy {percent(reading.validation_accuracy)}"
            accuracy += "" if reading.baseline_accuracy is None else f" (unigram: {percent(reading.baseline_accuracy)})"
        self.message(
            f"step {reading.step}/{reading.steps}  validation loss {reading.validation_loss:.4f}{accuracy}{reading.learned}"
        )

    def message(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Do nothing."""


def spreads(learned: Mapping[str, LearnedSpread]) -> str:
    """Describe learned answers by term: their effective rank, and the standard deviations of answers and predictions."""
    return "".join(
        f", {'' if len(learned) == 1 else f'{term}: '}RankMe {found.rankme:.3g} of {min(found.rows, found.width)}, "
        f"spread {percent(found.spread)} (predictions {percent(found.prediction_spread)})"
        for term, found in learned.items()
    )


def percent(share: float) -> str:
    """Format a share: 0.4123 -> 41.2 %."""
    return f"{100 * share:.1f} %"


def short(number: float) -> str:
    """Format a number with three digits and a unit: 950, 12.3k, 4.56M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{unit}"
    return f"{number:.3g}"


def duration(seconds: float) -> str:
    """Format a duration in hours, minutes and seconds: 1:02:03, 0:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
