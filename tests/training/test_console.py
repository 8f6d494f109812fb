"""What is shown where: a bar on a terminal, lines elsewhere, one line that is written anew in a notebook."""

from __future__ import annotations

import dataclasses
import io
import sys
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from omnimask.training.monitoring import console, display
from omnimask.training.monitoring import notebook as cell
from omnimask.training.monitoring.console import Reading

HALF = Reading(50, 100, 0.5, 1234.0, None, 10.0)
END = Reading(100, 100, 0.25, 1234.0, 0.125, 0.0)


class Handle:
    """A display of IPython's: every text that it showed."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def update(self, data: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.texts.append(data["text/plain"])


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> Handle:
    """IPython, as a notebook has it."""
    handle = Handle()

    def display(data: Any, *, raw: bool, display_id: bool) -> Handle:
        assert display_id and not handle.texts
        handle.update(data, raw=raw)
        return handle

    module: Any = ModuleType("IPython.display")
    module.display = display
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return handle


def test_a_notebook_gets_one_line_that_is_written_anew(handle: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    view = display.open_view()
    assert isinstance(view, cell.Cell)
    view.show(HALF)
    view.show(HALF)  # too soon
    view.show(END)
    view.validated(END)
    assert handle.texts == [
        "50/100 ━━━━━━━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌ loss 0.5000  1.23k tokens/s  0:10 left",
        *["100/100 ━━━━━━━━━━━━━━━━━━━━━━━━ loss 0.2500  val 0.1250  1.23k tokens/s"] * 2,
    ]


def test_messages_of_a_notebook_go_to_stderr(handle: Handle) -> None:
    file = io.StringIO()
    view = cell.Cell(Console(file=file))
    view.message("left out [red]")
    view.close()
    assert (file.getvalue(), handle.texts) == ("left out [red]\n", [])


def test_accuracies_stand_beside_the_validation_loss() -> None:
    file = io.StringIO()
    lines = console.LineView(Console(file=file))
    scored = dataclasses.replace(END, validation_accuracy=0.4123)
    lines.show(scored)
    lines.validated(scored)
    lines.validated(dataclasses.replace(scored, baseline_accuracy=0.065))
    lines.validated(END)
    assert file.getvalue().splitlines() == [
        "step 100/100  loss 0.2500  val 0.1250 (41.2 %)  1.23k tokens/s  0:00 left",
        "step 100/100  validation loss 0.1250, accuracy 41.2 %",
        "step 100/100  validation loss 0.1250, accuracy 41.2 % (unigram: 6.5 %)",
        "step 100/100  validation loss 0.1250",
    ]


def test_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert isinstance(display.open_view(), console.LineView)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert isinstance(display.open_view(), console.Bar)
