"""Colours and styles: on a terminal only, and none where ``NO_COLOR`` is set."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]

COLOR = re.compile(r"\x1b\[[\d;]*(?:3|4|9|10)[0-8][\d;]*m")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output is styled as if it went to a terminal."""
    for name in ("NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("typer.rich_utils.FORCE_TERMINAL", True)  # typer asks the environment once, when it is imported
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")


def everything(omnimask: Command, recipe: Path, run: str) -> str:
    results = [omnimask("plugins"), omnimask("components", "masker"), omnimask("inspect", recipe)]
    results += [omnimask("--help"), omnimask("pretrain", recipe, "--run", run), omnimask("pretrain")]
    assert [result.code for result in results] == [0, 0, 0, 0, 0, 2]
    return "".join(result.out + result.err for result in results)


@pytest.mark.usefixtures("terminal")
def test_a_terminal_gets_styles_and_no_color_takes_the_colors_away(
    omnimask: Command, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    styled = everything(omnimask, recipe, "a")
    assert "\x1b[1m" in styled and COLOR.search(styled)
    monkeypatch.setenv("NO_COLOR", "1")
    plain = everything(omnimask, recipe, "b")
    assert not COLOR.search(plain), COLOR.findall(plain)
    assert "\x1b[1m" in plain, "the convention is about colours: bold headings stay"


def test_a_pipe_gets_plain_text(omnimask: Command, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("typer.rich_utils.FORCE_TERMINAL", None)
    assert "\x1b" not in everything(omnimask, recipe, "a")
