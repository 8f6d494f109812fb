"""How much is scored in passing is decided by counts; validations tell how far they are."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from rich.console import Console

from omnimask.data import progress_lines as paced
from omnimask.training.devices.precision import Precision
from omnimask.training.monitoring import display
from omnimask.training.monitoring.console import LineView
from omnimask.training.validation import Scored, Validator
from omnimask.training.validation_cost import FEWEST, cost_share, num_scored, num_validations

ALL = Scored(8, 8)


@pytest.fixture
def every_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is told as often as it can be."""
    monkeypatch.setattr(paced, "SECONDS", 0.0)


def test_the_cost_is_a_third_of_training_per_token(runs: Any) -> None:
    config = runs.config(steps=100, batch_tokens=300, validate_every=50)
    assert num_validations(config) == 2
    assert cost_share(config, 9_000) == pytest.approx(6_000 / 36_000)
    assert num_validations(runs.config(steps=101, validate_every=50)) == 3
    assert num_validations(runs.config(steps=3, validate_every=50)) == 1


@pytest.mark.parametrize(
    ("share", "samples"),
    [
        ("10%", 256),  # 5,000 tokens of 10 each are a tenth: 500 samples, and 256 is the power of two below
        ("20%", 1_024),
        ("31%", 2_000),  # all of them cost 30.8 %
        ("100%", 2_000),
        ("0%", FEWEST),
    ],
)
def test_a_share_of_the_run_limits_the_samples(runs: Any, share: str, samples: int) -> None:
    config = runs.config(steps=100, batch_tokens=300, validate_every=50, validate_share=share)
    assert num_scored(config, 2_000, 20_000) == samples
    limit = float(share[:-1]) / 100
    assert samples == FEWEST or cost_share(config, 10 * samples) <= limit


def test_where_all_fit_all_are_scored(runs: Any) -> None:
    config = runs.config(steps=100, batch_tokens=300, validate_every=50)
    assert num_scored(config, 500, 4_999) == 500
    assert num_scored(config, 5, 1e9) == 5


def test_a_small_change_of_the_recipe_leaves_the_samples_as_they_are(runs: Any) -> None:
    found = {num_scored(runs.config(steps=steps, batch_tokens=300, validate_every=50), 2_000, 20_000) for steps in range(100, 140)}
    assert found == {256}


@pytest.mark.usefixtures("every_line")
def test_both_passes_of_the_first_validation_tell_how_far_they_are(tiny: Any, batch_of: Any, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    cpu = torch.device("cpu")
    validator = Validator(tiny(), lambda: [batch_of([1, 2, 3]), batch_of([4])], Precision("fp32", cpu), cpu, 0, num_samples=4)
    validator("after step 7")
    validator("after step 9")
    told = [record.message.partition(", about")[0] for record in caplog.records]
    read, scored = "samples are read to count their targets", "samples are scored"
    assert told == [
        *(f"validation after step 7: {done} of 4 {read}" for done in (3, 4)),
        *(f"validation after step {step}: {done} of 4 {scored}" for step in (7, 9) for done in (3, 4)),
    ]


@pytest.mark.usefixtures("every_line")
def test_progress_reaches_the_log_and_the_terminal(runs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(display, "open_view", lambda: LineView(Console(file=shown)))
    monkeypatch.setattr(display, "_is_configured", lambda: False)
    trainer = runs.trainer(steps=4, trainer_options={"show": True, "scored": Scored(8, 20)})
    trainer.fit()
    line = "validation after step 4: 8 of 8 samples are scored, about 0 seconds left"
    assert line in shown.getvalue().splitlines()
    log = (trainer.directory.logs / "rank0.log").read_text()
    assert line in log and " on 8 of 20 held-out samples" in log
    assert "checkpoint" in log and "checkpoint" not in shown.getvalue()


def test_progress_changes_no_number(runs: Any, lines: Any, fingerprint: Any) -> None:
    silent, told = runs.trainer("silent"), runs.trainer("told", trainer_options={"scored": ALL})
    silent.fit(), told.fit()
    assert lines(silent.directory.path) == lines(told.directory.path)
    assert fingerprint(silent) == fingerprint(told)


def test_lines_are_seconds_apart(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    clock: Iterator[float] = iter([0.0, 4.0, 11.0, 12.0, 21.5])
    monkeypatch.setattr(paced.time, "monotonic", lambda: next(clock))
    caplog.set_level(logging.INFO)
    tell = paced.Paced(40, "reading", "parts")
    for done in (10, 20, 30, 40):
        tell(done)
    assert [record.message for record in caplog.records] == [
        "reading: 20 of 40 parts, about 11 seconds left",
        "reading: 40 of 40 parts, about 0 seconds left",
    ]


def test_a_resume_that_scores_the_same_samples_keeps_the_best(runs: Any) -> None:
    runs.trainer(steps=6, trainer_options={"scored": ALL}).fit()
    again = runs.trainer(steps=6, trainer_options={"scored": ALL})
    again.restore()
    assert again.progress.best_loss is not None and again.progress.scored_samples == 8


def test_a_resume_that_scores_other_samples_looks_for_the_best_anew(runs: Any, caplog: Any) -> None:
    first = runs.trainer(steps=6, trainer_options={"scored": Scored(4, 8)})
    first.fit()
    first.progress.best_loss = 0.0
    again = runs.trainer(steps=8, trainer_options={"scored": ALL})
    again.restore()
    assert again.progress.best_loss is None and again.progress.scored_samples == 8
    assert "validations now score 8 of 8 held-out samples instead of 4 samples:" in caplog.text
    summary = again.fit()
    assert json.loads((again.directory.checkpoints / "best.json").read_text())["step"] == summary["best_step"] == 8


def test_a_run_of_an_earlier_version_scored_all(runs: Any, caplog: Any) -> None:
    runs.trainer(steps=6).fit()
    again = runs.trainer(steps=6, trainer_options={"scored": ALL})
    again.restore()
    assert again.progress.best_loss is not None and again.progress.scored_samples == 8
    assert "from here on" not in caplog.text
