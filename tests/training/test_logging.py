"""metrics.jsonl, the log file, the console."""

from __future__ import annotations

import io
import json
import logging
import math
import struct
import sys

import pytest
from rich.console import Console

from omnimask.errors import UserError
from omnimask.training.monitoring import metrics
from omnimask.training.monitoring.console import Bar, LineView, Reading, duration, short
from omnimask.training.monitoring.jsonl_writer import MetricsFile, read_metrics

STEP_KEYS = {"step", "attempt", "loss", "values", "size", "lr", "grad_norm", "tokens", "samples", "seconds", "tokens_per_second"}
TOTAL_KEYS = {"total_tokens", "total_samples", "total_seconds", "skipped_steps", "bad_samples", "retries"}


def test_lines_of_a_run(runs) -> None:
    trainer = runs.trainer(log_every=5, validate_every=6)
    trainer.fit()
    lines = [json.loads(line) for line in trainer.directory.metrics.read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == [1, 5, 10, 12]
    assert all(set(line) == STEP_KEYS | TOTAL_KEYS for line in steps)
    assert all(line["samples"] == 8 and line["total_samples"] == 8 * line["step"] for line in steps)
    validations = [line for line in lines if "validation_loss" in line]
    assert [line["step"] for line in validations] == [6, 12]
    assert set(validations[0]) == {"step", "attempt", "validation_loss", "validation_values", "validation_size", "seconds"}


def test_the_table_of_metrics_documents_and_reserves_what_is_written(runs) -> None:
    trainer = runs.trainer(log_every=1)
    trainer.fit()
    lines = [json.loads(line) for line in trainer.directory.metrics.read_text().splitlines()]
    step = next(line for line in lines if "loss" in line)
    validation = next(line for line in lines if "validation_loss" in line)
    position = {metric.name for metric in metrics.POSITION}
    named = position | {metric.name for metric in metrics.STEP}
    terms = {"values", "size"}
    assert set(step) - terms == named and "<term>" in metrics.FAMILIES
    assert {name.replace("values", "<term>").replace("size", "<term>") for name in validation} == position | {
        name for name in metrics.VALIDATION if not name.endswith(("<score>", "_rankme", "spread"))
    }
    assert all(map(metrics.is_reserved, {*named, *validation})) and not any(map(metrics.is_reserved, terms))


def test_the_rate_is_the_schedule_times_the_peak(runs, context) -> None:
    from omnimask.training.optim.schedules import Cosine

    trainer = runs.trainer()
    trainer.fit()
    expected = [1e-2 * Cosine(context, warmup=3)(step, 12) for step in range(12)]
    assert [line["lr"] for line in read_metrics(trainer.directory.metrics) if "lr" in line] == expected


def test_a_logged_loss_is_that_steps_loss_bit_for_bit(runs) -> None:
    every, some = runs.trainer("every", log_every=1), runs.trainer("some", log_every=5)
    every.fit(), some.fit()
    losses = {line["step"]: line["loss"] for line in read_metrics(every.directory.metrics) if "loss" in line}
    for line in read_metrics(some.directory.metrics):
        if "loss" in line:
            assert struct.pack("d", line["loss"]) == struct.pack("d", losses[line["step"]])


def test_numbers_round_trip_and_nothing_is_nan(tmp_path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    metrics.append({"step": 1, "loss": 0.1 + 0.2, "other": math.nan, "norm": math.inf})
    assert list(read_metrics(metrics.path)) == [{"step": 1, "loss": 0.1 + 0.2, "other": None, "norm": None}]


def test_a_cut_drops_later_lines_and_a_torn_one(tmp_path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    for step in range(1, 6):
        metrics.append({"step": step, "attempt": 3, "loss": 1 / step})
    with metrics.path.open("a") as file:
        file.write('{"step": 6, "lo')
    assert metrics.last_attempt() == 3
    metrics.cut(3)
    metrics.append({"step": 4, "attempt": 4, "loss": 0.5})
    assert [(line["step"], line["attempt"]) for line in read_metrics(metrics.path)] == [(1, 3), (2, 3), (3, 3), (4, 4)]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_the_log_file_and_the_logger_afterwards(runs) -> None:
    logger = logging.getLogger("omnimask")
    before = (logger.level, list(logger.handlers))
    trainer = runs.trainer()
    trainer.fit()
    text = (trainer.directory.logs / "rank0.log").read_text()
    assert "attempt 1 starts at step 0 of 12" in text and "checkpoint" in text
    assert (logger.level, list(logger.handlers)) == before


def test_summary(runs) -> None:
    trainer = runs.trainer()
    summary = trainer.fit()
    assert json.loads(trainer.directory.summary.read_text()) == summary
    assert summary["status"] == "finished" and summary["step"] == 12 and summary["samples"] == 96
    assert summary["best_checkpoint"] in {path.name for path in trainer.checkpoints.paths()}


READING = Reading(249_000, 250_000, 0.12345, 12_345.6, 0.2345, 3725.0)


def test_a_line_fits_80_columns() -> None:
    text = io.StringIO()
    LineView(Console(file=text, width=80)).show(READING)
    assert text.getvalue() == "step 249000/250000  loss 0.1235  val 0.2345  12.3k tokens/s  1:02:05 left\n"
    assert len(text.getvalue()) <= 80


def test_lines_come_at_intervals_and_at_the_end() -> None:
    text = io.StringIO()
    view = LineView(Console(file=text, width=80))
    for step in range(1, 101):
        view.show(Reading(step, 100, 1.0, 10.0, None, None))
    assert [line.split()[1] for line in text.getvalue().splitlines()] == ["1/100", "100/100"]


@pytest.mark.parametrize("no_color", [True, False])
def test_a_bar_fits_80_columns(monkeypatch, no_color) -> None:
    monkeypatch.setenv("NO_COLOR", "1" if no_color else "")
    text = io.StringIO()
    bar = Bar(Console(file=text, width=80, force_terminal=True, color_system="standard"))
    bar.show(READING)
    bar.message("WARNING: something")
    bar.close()
    shown = text.getvalue()
    assert "249000/250000" in shown and "val 0.2345" in shown and "12.3k tokens/s" in shown and "something" in shown
    assert ("\x1b[3" in shown) is not no_color


def test_a_run_shows_lines_on_stderr_alone(runs, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    runs.trainer(trainer_options={"show": True}).fit()
    captured = capsys.readouterr()
    assert captured.out == "" and "step 12/12  loss " in captured.err
    assert "step 12/12  validation loss " in captured.err
    assert all(len(line) <= 80 for line in captured.err.splitlines())


def test_tensorboard(runs, monkeypatch) -> None:
    pytest.importorskip("tensorboard")
    trainer = runs.trainer(tensorboard=True)
    trainer.fit()
    assert list((trainer.directory.logs / "tensorboard").iterdir())


def test_tensorboard_missing_is_named_before_anything_is_written(runs, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"omnimask\[tensorboard\]"):
        runs.trainer(tensorboard=True)
    assert not list(runs.root.iterdir())


def test_short_numbers_and_durations() -> None:
    assert [short(n) for n in (0.5, 950, 12_345, 4.56e6, 7e9)] == ["0.5", "950", "12.3k", "4.56M", "7G"]
    assert [duration(s) for s in (5, 65, 3723)] == ["0:05", "1:05", "1:02:03"]
