"""Ends of a run: signals, deadlines, kills, and the checkpoints from which it resumes."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest

from omnimask.training.checkpoints import durable_files as files
from omnimask.training.checkpoints.directory import verify

from .lab import Faults, Lab

FAULTS = Faults()


def signalled(lab: Lab, signum: int, workers: int = 0) -> None:
    lab.code = lab.pretrain_with(3, lambda: os.kill(os.getpid(), signum), f"train.workers={workers}")
    assert f"interrupted by signal {signum}: stopping after a checkpoint at step 3" in lab.text
    assert lab.log.splitlines()[-2:] == [
        "resume with: omnimask resume run",
        f"error: interrupted by signal {signum}; a checkpoint was written",
    ]
    assert lab.summary["status"] == "interrupted" and lab.last["step"] == 3
    verify(lab.run / "checkpoints" / "step-00000003")
    lab.resumes()
    assert lab.last["attempt"] == 2


@FAULTS.row("SIGTERM")
def terminated(lab: Lab) -> None:
    signalled(lab, signal.SIGTERM, workers=2)


@FAULTS.row("SIGINT (Ctrl-C)")
def interrupted(lab: Lab) -> None:
    signalled(lab, signal.SIGINT)


@FAULTS.row("SIGUSR1")
def requeued(lab: Lab) -> None:
    signalled(lab, signal.SIGUSR1)


@FAULTS.row("the time of `--max-time` is up")
def time_is_up(lab: Lab) -> None:
    now = [0.0]
    append = files.Appender.append

    def ticking(appender: files.Appender, line: str) -> None:
        append(appender, line)
        now[0] += 60

    with lab.monkeypatch.context() as patch:
        patch.setattr(files.Appender, "append", ticking)
        patch.setattr("omnimask.training.deadline.Deadline.__init__.__defaults__", (None, lambda: now[0]))
        lab.code = lab.pretrain("--max-time", "5m30s")
    assert "the time limit of this attempt was reached: stopping after a checkpoint at step 5" in lab.text
    assert lab.summary["status"] == "interrupted" and lab.last["step"] == 5
    lab.resumes()
    assert lab.last["attempt"] == 2


@FAULTS.row("a checkpoint is damaged")
def damaged_checkpoint(lab: Lab) -> None:
    assert lab.pretrain_with(5, lambda: os.kill(os.getpid(), signal.SIGTERM)) == 143
    newest = lab.run / "checkpoints" / "step-00000005" / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"#")
    lab.code = lab.command("resume", "run")
    assert re.search(r"damaged checkpoint ignored: .*step-00000005: model.safetensors was changed", lab.text)
    assert lab.last["step"] == 30 and lab.last["attempt"] == 2


@FAULTS.row("every checkpoint is damaged")
def no_checkpoint(lab: Lab) -> None:
    assert lab.pretrain_with(5, lambda: os.kill(os.getpid(), signal.SIGTERM)) == 143
    for path in (lab.run / "checkpoints").glob("step-*/manifest.json"):
        path.write_text("{}")
    lab.code = lab.command("resume", "run")
    assert "no intact checkpoint" in lab.log
    assert "step-00000005: manifest.json is unreadable" in lab.log


@FAULTS.row("`kill -9`, or a power cut")
def torn(lab: Lab) -> None:
    """What such an end leaves (a torn line, half a checkpoint, no summary); the kills themselves are in test_kills.py."""

    class Killed(BaseException): ...

    def kill() -> None:
        raise Killed

    with pytest.raises(Killed):
        lab.pretrain_with(5, kill)
    with (lab.run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    (lab.run / "checkpoints" / "step-00000006.tmp").mkdir()
    lab.code = lab.pretrain("--continue")
    assert "half-written checkpoint removed: " in lab.text and "metrics.jsonl:6, which is truncated" in lab.text
    assert lab.last["step"] == 30 and lab.last["attempt"] == 2
    steps = [json.loads(line)["step"] for line in (lab.run / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 31))


@FAULTS.row("another process trains in the folder")
def locked(lab: Lab) -> None:
    from omnimask.training.checkpoints.run_directory import RunDirectory

    assert lab.pretrain("train.steps=4") == 0
    with RunDirectory(lab.run).locked():
        lab.code = lab.command("resume", "run", "train.steps=6")
    assert "another process is training in run" in lab.log
