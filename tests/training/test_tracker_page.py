"""The tracker on the page about runs, installed as the page says, sends each number to a stand-in for MLflow."""

from __future__ import annotations

import json
import logging
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omnimask.registry import discover

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "runs.md").read_text(encoding="utf-8")
BLOCK = r"^```{}\n(.*?)^```$"


class MLflow(types.ModuleType):
    """The functions of MLflow that the page calls, with its names of arguments."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.calls: list[tuple[Any, ...]] = []
        self.fails = False

    def start_run(self, run_id: str | None = None, run_name: str | None = None) -> Any:
        self.calls.append(("start", run_id, run_name))
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=run_id or "0a1b"))

    def log_artifact(self, local_path: str) -> None:
        assert Path(local_path).is_file()

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        if self.fails:
            raise ConnectionError("the server is away")
        self.calls.append(("metrics", step, metrics))

    def end_run(self, status: str) -> None:
        self.calls.append(("end", status))


@pytest.fixture
def mlflow(distribution: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> MLflow:
    """The page's plugin is installed, and MLflow's server is named."""
    (source,) = re.findall(BLOCK.format('python title="lab_tracker.py"'), PAGE, flags=re.MULTILINE | re.DOTALL)
    (points,) = re.findall(BLOCK.format("toml"), PAGE, flags=re.MULTILINE | re.DOTALL)
    points = points.replace("[project.entry-points.omnimask]", "[omnimask]").replace('"', "")
    distribution("lab-tracker", {"lab_tracker": source}, points)
    assert not discover().failures
    module = MLflow()
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker.example")
    return module


def test_the_tracker_gets_every_line_and_goes_on_after_a_resume(runs: Any, mlflow: MLflow) -> None:
    trainer = runs.trainer(steps=6)
    trainer.directory.recipe.parent.mkdir(parents=True)
    trainer.directory.recipe.write_text("omnimask: 1\n")
    trainer.fit()
    again = runs.trainer(steps=8)
    again.restore()
    again.fit()
    starts = [call for call in mlflow.calls if call[0] == "start"]
    assert starts == [("start", None, "run"), ("start", "0a1b", None)]
    assert [call for call in mlflow.calls if call[0] == "end"] == [("end", "FINISHED")] * 2
    lines = [json.loads(line) for line in again.directory.metrics.read_text().splitlines()]
    sent = [{"step": call[1], **call[2]} for call in mlflow.calls if call[0] == "metrics"]
    assert sent == [{name: value for name, value in line.items() if name != "attempt"} for line in lines]
    assert any("validation_loss" in line for line in sent)


def test_a_server_that_is_away_does_not_end_the_run(runs: Any, mlflow: MLflow, caplog: pytest.LogCaptureFixture) -> None:
    mlflow.fails = True
    trainer = runs.trainer(steps=4)
    trainer.directory.recipe.parent.mkdir(parents=True)
    trainer.directory.recipe.write_text("omnimask: 1\n")
    caplog.set_level(logging.WARNING)
    assert trainer.fit()["status"] == "finished"
    assert "MLflow: the server is away" in caplog.text


def test_runs_are_not_tracked_unless_a_server_is_named(runs: Any, mlflow: MLflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    runs.trainer(steps=4).fit()
    assert mlflow.calls == []
