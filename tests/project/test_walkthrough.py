"""The walkthrough's code prints what the page shows."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "walkthrough.md"
_BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`((?:core/omnimask|plugins|components|network|training)/[\w/.]+)`")


def test_the_code_prints_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIMASK_CACHE", str(tmp_path))
    names: dict[str, Any] = {}
    printed, shown = "", []
    for kind, text in _BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if kind == "text":
            shown.append(text)
            assert printed == text
            printed = ""
        else:
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(text, str(PAGE), "exec"), names)
            printed += out.getvalue()
    assert len(shown) == 6 and printed == ""


def test_the_files_of_the_page_exist() -> None:
    for name in _FILE.findall(PAGE.read_text(encoding="utf-8")):
        path = ROOT / name if name.startswith(("core", "plugins")) else ROOT / "core" / "omnimask" / name
        assert path.exists(), name
