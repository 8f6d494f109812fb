"""The search for recipes that end otherwise than with 0 or 2; ``scripts/break_recipes.py`` runs it for longer."""

from __future__ import annotations

import importlib.util
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "break_recipes.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    monkeypatch.setenv("OMNIMASK_CACHE", str(tmp_path / "cache"))
    before = {number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGPROF)}
    spec = importlib.util.spec_from_file_location("break_recipes", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for number, handler in before.items():
        signal.signal(number, handler)


def test_some_broken_recipes_end_with_0_or_2(script: ModuleType, tmp_path: Path) -> None:
    bases = script.shrunk_recipes(["image/digits"])
    faults = []
    for number in range(12):
        text, changes = script.Breaker(random.Random(f"test/{number}")).broken(bases["image/digits"])
        folder = tmp_path / str(number)
        folder.mkdir()
        found = script.run_case(text, folder)
        faults += [] if found["is_clean"] else [(changes, found["code"], found["message"])]
    assert not faults


def test_an_unbroken_recipe_trains_and_a_fault_is_found(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bases = script.shrunk_recipes(["image/digits"])
    assert script.run_case(script.dump(bases["image/digits"]), tmp_path)["code"] == 0
    monkeypatch.setattr("omnimask.run.prepare.check_model", lambda built: 1 / 0)
    (tmp_path / "again").mkdir()
    assert not script.run_case(script.dump(bases["image/digits"]), tmp_path / "again")["is_clean"]
