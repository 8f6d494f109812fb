"""Progress of a run in a notebook: one line below the cell, updated in place, without widgets."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console

from omnimask.training.monitoring.console import LineView, Reading, duration

SECONDS_BETWEEN_UPDATES = 0.5
_BAR = 24


class Cell:
    """IPython display, updated in place; the notebook keeps its last state. Messages go to stderr.

    rich's own progress bar shows nothing in a notebook without ipywidgets.
    """

    def __init__(self, console: Console) -> None:
        self._lines = LineView(console)
        self._handle: Any = None
        self._last = -float("inf")

    def show(self, reading: Reading) -> None:
        """Update the display at most twice a second, and after the last step."""
        now = time.monotonic()
        if now - self._last >= SECONDS_BETWEEN_UPDATES or reading.step == reading.steps:
            self._last = now
            self._write(line(reading))

    def validated(self, reading: Reading) -> None:
        self._write(line(reading))

    def message(self, text: str) -> None:
        self._lines.message(text)

    def close(self) -> None:
        """Do nothing; the last state stays visible."""

    def _write(self, text: str) -> None:
        from IPython.display import display  # a notebook has it

        data = {"text/plain": text}
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


def line(reading: Reading) -> str:
    """Return a text progress bar with the numbers."""
    filled = round(_BAR * reading.step / reading.steps)
    left = "" if reading.seconds_left is None or reading.step == reading.steps else f"  {duration(reading.seconds_left)} left"
    return f"{reading.step}/{reading.steps} {'━' * filled}{'╌' * (_BAR - filled)} {reading.numbers}{left}"
