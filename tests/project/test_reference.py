"""The reference pages are what the signatures say, and every shipped component is documented."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

import pytest

from omnimask.recipe import describe
from omnimask.registry import Entry, discover

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = [entry for entry in discover().entries() if entry.distribution == "omnimask"]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_reference", ROOT / "scripts" / "write_reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_reference_is_up_to_date(script: ModuleType) -> None:
    for name, text in script.pages().items():
        assert (script.FOLDER / name).read_text(encoding="utf-8") == text, "run python scripts/write_reference.py"


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda entry: f"{entry.kind}-{entry.name}")
def test_component_is_documented(entry: Entry) -> None:
    cls = discover().load(entry.kind, entry.name)
    assert cls.__doc__, f"{cls.__name__} has no docstring"
    summary = (inspect.getdoc(cls) or "").partition("\n")[0]
    assert summary.endswith((".", ";", ":", "])", "].")), f"the docstring of {cls.__name__} begins with no sentence: {summary!r}"
    missing = [option.name for option in describe(cls) if not option.description]
    assert not missing, f"{cls.__name__}: options without a description: {missing}"
