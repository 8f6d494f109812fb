"""Arguments in locales that know ASCII alone: their bytes are UTF-8."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from omnimask.cli.locale_text import escape_unprintable, readable
from omnimask.recipe import load_recipe

from .conftest import Command


def as_ascii(text: str) -> str:
    """What Python makes of an argument in the C locale."""
    return text.encode("utf-8").decode("ascii", "surrogateescape")


@pytest.mark.parametrize("text", ["größe", "今天天气很好", "plain", "a\nb", "", "😀"])
def test_bytes_are_read_as_utf8(text: str) -> None:
    assert readable(as_ascii(text)) == readable(text) == text


@pytest.mark.parametrize("given", [os.fsdecode(b"caf\xe9"), "half \udcc3", "\ud83d"])
def test_what_is_no_utf8_stays(given: str) -> None:
    assert readable(given) == given


def test_paths_and_overrides(omnimask: Command, recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "wörter"
    folder.mkdir()
    (folder / "a.txt").write_text("the cat sat on the mat.\n\n" * 30, encoding="utf-8")
    assert omnimask("init", as_ascii(str(folder)), "-o", as_ascii("rezept-ü.yaml")).code == 0
    assert load_recipe(tmp_path / "rezept-ü.yaml").data.dataset.options["path"] == folder
    refused = omnimask("inspect", recipe, as_ascii("data.größe=1"))
    assert refused.code == 2 and "größe" in refused.err


def test_what_the_terminal_has_no_letter_for_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    escape_unprintable()
    print("größe 日", flush=True)
    assert written.getvalue() == b"gr\\xf6\\xdfe \\u65e5\n"


@pytest.mark.process
def test_a_process_in_the_c_locale() -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "omnimask", "components", "masker", "größe"]
    found = subprocess.run(command, env=environment, capture_output=True, timeout=120)
    assert found.returncode == 2 and "größe".encode() in found.stderr, found.stderr
