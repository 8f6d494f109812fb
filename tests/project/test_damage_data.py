"""The search for data that end a command wrongly: a few of its cases, and what it calls a fault."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("pyarrow")
SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    sys.path.insert(0, str(SCRIPTS))
    spec = importlib.util.spec_from_file_location("damage_data", SCRIPTS / "damage_data.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["damage_data"] = module
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(SCRIPTS))
    del sys.modules["damage_data"]


def test_cases_are_run_and_recorded(script: ModuleType, tmp_path: Path) -> None:
    output = tmp_path / "damage.json"
    assert script.main(["--cases", "3", "--seed", "5", "--form", "shard jsonl", "--output", str(output)]) == 0
    record = json.loads(output.read_text())
    assert (record["cases"], record["faults"]) == (3, 0)
    assert sum(record["codes"].values()) == 3
    assert [outcome["number"] for outcome in record["outcomes"]] == [0, 1, 2]
    assert all(outcome["damages"] for outcome in record["outcomes"])


def test_every_form_can_be_written(script: ModuleType, tmp_path: Path) -> None:
    for number, (name, form) in enumerate(script.FORMS.items()):
        for seed in range(4):
            assert form.write(tmp_path / f"{number}-{seed}", random.Random(f"{name} {seed}"))


@pytest.mark.parametrize(
    ("code", "output", "left", "fault"),
    [
        (0, "finished", ["out"], ""),
        (1, "error: 11 samples cannot be read", ["out"], ""),
        (2, "error: data: a.csv:3: bad", [], ""),
        (2, "error: data: a.csv:3: bad", ["out"], "a refusal left a folder"),
        (70, "error: this is a bug", [], "exit code 70"),
        (1, "Traceback (most recent call last):", [], "traceback"),
        (None, "", [], "took too long"),
        (-9, "", [], "exit code -9"),
    ],
)
def test_what_a_fault_is(script: ModuleType, code: int | None, output: str, left: list[str], fault: str) -> None:
    assert script._judged(script.Outcome(0, "csv", [], code, output, 0.1, left), output).fault == fault


def test_a_command_that_takes_too_long_is_ended(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnimask.cli.main", lambda _: os.read(os.pipe()[0], 1))
    code, seconds, _ = script.in_child(["pretrain"], tmp_path, 0.3)
    assert code is None
    assert seconds < 5
