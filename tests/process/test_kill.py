"""A run that is killed again and again ends like one that was left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = Path(__file__).parents[2] / "benchmarks" / "faults" / "kills.py"


@pytest.mark.process
def test_killed_and_resumed_five_times(tmp_path: Path) -> None:
    output = tmp_path / "kills.json"
    command = [sys.executable, str(KILLS), "--kills", "5", "--devices", "1", "--output", str(output)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}  # the script's folder is its path
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(output.read_text(encoding="utf-8"))
    assert result["is_exact"]
    kills = result["runs"][0]["kills"]
    assert [kill["workers"] for kill in kills] == [0, 2, 0, 2, 0]
    assert [kill["moment"] for kill in kills] == ["step", "checkpoint", "start", "checkpoint", "step"]
    assert result["totals"]["epochs"] >= 2
    assert result["totals"]["checkpoints read"] >= 4


@pytest.mark.process
def test_a_small_storm_changes_nothing(tmp_path: Path) -> None:
    output = tmp_path / "storm.json"
    command = [sys.executable, str(KILLS.with_name("storm.py")), "--kills", "4", "--recipes", "2", "--seed", "3"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run([*command, "--output", str(output)], capture_output=True, text=True, timeout=400, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(output.read_text(encoding="utf-8"))
    assert result["is_exact"] and result["totals"]["kills"] == 4 and result["totals"]["finished"] >= 2
    assert result["totals"]["checkpoints_read"] >= 1
