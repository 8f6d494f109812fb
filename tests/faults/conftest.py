"""The modules of ``benchmarks/faults``, which are scripts beside the project and no package of it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "faults"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Imports one of them by name, for this test only."""
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module
    for path in FOLDER.glob("*.py"):
        sys.modules.pop(path.stem, None)


def _of_shards(name: str) -> Any:
    """A fixture of the tests of shards."""
    path = Path(__file__).parents[1] / "datasets" / "shards" / "conftest.py"
    spec = importlib.util.spec_from_file_location("conftest_of_shards", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


serve = _of_shards("serve")
