"""Faults of a run at work: lost loader processes, full disks, numbers that are not finite, memory."""

from __future__ import annotations

import errno
import math
import multiprocessing
import os
import re
import signal
from pathlib import Path
from typing import Any

import torch

from omnimask.training.checkpoints import durable_files as files

from .lab import Faults, Lab

FAULTS = Faults()


@FAULTS.row("a loader process dies")
def worker_dies(lab: Lab) -> None:
    def kill() -> None:
        os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)

    lab.code = lab.pretrain_with(3, kill, "train.workers=2")
    assert re.search(r"data loader worker \d+ \(exit code -9\) died while reading samples", lab.log)
    assert lab.summary["status"] == "stopped"
    lab.resumes()
    assert lab.last["attempt"] == 2


def refusing_disk(lab: Lab, number: int) -> None:
    write, refuses = files._write, False

    def limited(file: Any, data: Any) -> None:
        nonlocal refuses
        refuses = refuses or "step-00000006" in str(Path(f"/proc/self/fd/{file.fileno()}").readlink())
        if refuses:
            raise OSError(number, os.strerror(number))
        write(file, data)

    with lab.monkeypatch.context() as patch:
        patch.setattr(files, "_write", limited)
        lab.code = lab.pretrain()
    assert os.strerror(number) in lab.log and "MB free there" in lab.log
    assert lab.log.count("error: ") == 1
    assert sorted(path.name for path in lab.run.glob("checkpoints/step-*")) == ["step-00000002", "step-00000004"]
    assert os.strerror(number) in (lab.run / "logs" / "rank0.log").read_text()
    assert not list(lab.run.rglob("*.tmp"))
    lab.resumes()
    assert lab.last["attempt"] == 2


@FAULTS.row("the disk is full")
def disk_full(lab: Lab) -> None:
    refusing_disk(lab, errno.ENOSPC)


@FAULTS.row("the disk becomes read-only")
def read_only(lab: Lab) -> None:
    refusing_disk(lab, errno.EROFS)


def without_a_number(output: Any) -> Any:
    import dataclasses

    return dataclasses.replace(output, loss=output.loss * math.nan)


@FAULTS.row("a loss or gradient that is not finite")
def non_finite(lab: Lab) -> None:
    with lab.damaged(lambda output, call: without_a_number(output) if call in (4, 5) else output):
        lab.code = lab.pretrain()
    assert lab.last["skipped_steps"] == lab.summary["skipped_steps"] == 2
    assert "step 5 skipped: non-finite loss" in lab.text


@FAULTS.row("ten steps in a row without finite numbers")
def never_finite(lab: Lab) -> None:
    with lab.damaged(lambda output, call: without_a_number(output) if call >= 4 else output):
        lab.code = lab.pretrain()
    assert lab.last["skipped_steps"] == 10
    assert "10 steps in a row had a non-finite loss, the last one step 14" in lab.log
    assert lab.summary["status"] == "stopped"
    lab.resumes()


@FAULTS.row("memory runs out")
def out_of_memory(lab: Lab) -> None:
    def wanted(output: Any, call: int) -> Any:
        if call == 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return output

    with lab.damaged(wanted):
        lab.code = lab.pretrain()
    assert "out of memory in step 5: a micro-batch had 16 tokens" in lab.log
    assert lab.summary["status"] == "stopped"
    lab.resumes("train.micro_batch_tokens=8")
