"""A run that is killed again and again ends like one that was left alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).with_name("kill_harness.py")


@pytest.mark.process
def test_killed_and_resumed_four_times(tmp_path: Path) -> None:
    output = tmp_path / "kills.json"
    done = subprocess.run(
        [sys.executable, str(HARNESS), "--kills", "4", "--output", str(output)], capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(output.read_text(encoding="utf-8"))
    assert result["is_exact"]
    assert [kill["workers"] for kill in result["kills"]] == [0, 2, 0, 2]
    assert [kill["is_main_alone"] for kill in result["kills"]] == [False, True, False, True]
