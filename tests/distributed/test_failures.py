"""What goes wrong on one rank ends, or is skipped, on all: in bounded time, told once, with the last checkpoint intact."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from omnimask.training.checkpoints.directory import CheckpointManifest, Checkpoints, verify

from .conftest import TIMEOUT, Call, Start, Trained, environment, largest_difference, lines

pytestmark = pytest.mark.process

ENDLESS = ("train.steps=100000", "train.checkpoint_every=5", "train.validate_every=100000", "train.timeout=10", "--devices", "2")


def errors(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("error: ")]


def ranks_of(process: subprocess.Popen[str]) -> dict[int, int]:
    """Process numbers by rank of what ``--devices`` started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    found = {}
    for child in children:
        variables = Path(f"/proc/{child}/environ").read_bytes().decode().split("\0")
        found |= {int(value.removeprefix("RANK=")): int(child) for value in variables if value.startswith("RANK=")}
    return found


def wait_for_steps(process: subprocess.Popen[str], run: Path, steps: int) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not (run / "metrics.jsonl").exists() or len((run / "metrics.jsonl").read_bytes().splitlines()) < steps:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_killed_rank_ends_the_others_and_is_named(start: Start, call: Call, scene: Path, strategy: str) -> None:
    run = scene / f"killed-{strategy}"
    process = start("pretrain", "image.yaml", "--run", run, *ENDLESS, f"train.distributed={strategy}")
    wait_for_steps(process, run, 12)
    ranks = ranks_of(process)
    os.kill(ranks[1], signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert any("rank 1" in line and "SIGKILL" in line for line in errors(stderr)), stderr
    assert not any(Path(f"/proc/{number}").exists() for number in ranks.values())
    newest = Checkpoints(run / "checkpoints").newest()
    assert newest is not None
    step = int(newest.name.removeprefix("step-"))
    assert step >= 5
    found = call("resume", run, "--max-time", "1s", "--devices", "2")
    assert found.returncode == 75, found.stderr
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["status"], summary["attempt"]) == ("interrupted", 2) and summary["step"] >= step


def test_a_rank_that_hangs_is_given_up(start: Start, scene: Path) -> None:
    run = scene / "hung"
    process = start("pretrain", "image.yaml", "--run", run, *ENDLESS)
    wait_for_steps(process, run, 7)
    os.kill(ranks_of(process)[1], signal.SIGSTOP)
    _, stderr = process.communicate(timeout=90)
    assert process.returncode == 1
    assert any("rank 1 is gone or does not respond" in line for line in errors(stderr)), stderr


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_signal_to_the_command_ends_all_after_a_checkpoint(start: Start, scene: Path, strategy: str) -> None:
    run = scene / f"signalled-{strategy}"
    process = start("pretrain", "image.yaml", "--run", run, *ENDLESS, f"train.distributed={strategy}")
    wait_for_steps(process, run, 7)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr
    assert len(errors(stderr)) == 1 and "signal 15" in errors(stderr)[0]
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert summary["last_checkpoint"] == f"step-{summary['step']:08d}"
    verify(run / "checkpoints" / summary["last_checkpoint"])


@pytest.mark.parametrize("change", ["train.stepz=3", "train.batch_tokens=20"])
def test_wrong_input_is_told_once_and_nothing_is_written(call: Call, scene: Path, change: str) -> None:
    run = scene / "never"
    found = call("pretrain", "image.yaml", "--run", run, "--devices", "2", change)
    assert found.returncode == 2
    assert len(errors(found.stderr)) == 1, found.stderr
    assert not run.exists()


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_loss_that_is_not_finite_on_one_rank_is_skipped_by_all(trained: Trained, strategy: str) -> None:
    alone = trained("image", OMNIMASK_HARM="nan:0:4")
    two = trained("image", "--devices", "2", f"train.distributed={strategy}", OMNIMASK_HARM="nan:1:4")
    assert largest_difference(alone, two) < 1e-5
    assert [line["step"] for line in lines(two) if line.get("loss", 0) is None] == [4]
    assert lines(two)[-2]["skipped_steps"] == 1


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_rank_without_a_readable_sample_takes_part(trained: Trained, strategy: str) -> None:
    """The other half of the step is learned from."""
    two = trained("image", "--devices", "2", f"train.distributed={strategy}", OMNIMASK_HARM="empty:1:4")
    assert [line["samples"] for line in lines(two) if "samples" in line][2:5] == [32, 16, 32]
    assert lines(two)[-2]["skipped_steps"] == 0


@pytest.mark.parametrize(
    ("harm", "words"),
    [("memory:1:4", "out of memory in step 4"), ("data:1:4", "the data of this rank are bad"), ("hook:0:4", "the hook is broken")],
)
def test_what_stops_one_rank_stops_all_and_is_told_once(call: Call, scene: Path, harm: str, words: str) -> None:
    run = scene / harm.replace(":", "-")
    found = call("pretrain", "image.yaml", "--run", run, "--devices", "2", "train.checkpoint_every=2", OMNIMASK_HARM=harm)
    assert found.returncode == 1
    assert len(errors(found.stderr)) == 1 and words in found.stderr, found.stderr
    assert json.loads((run / "summary.json").read_text())["status"] == "stopped"
    assert Checkpoints(run / "checkpoints").newest() is not None


def test_a_damaged_checkpoint_of_shares_is_passed_over(trained: Trained, call: Call) -> None:
    run = trained("image", "--devices", "2", "train.distributed=fsdp")
    copy = run.with_name("damaged")
    shutil.copytree(run, copy)
    shards = copy / "checkpoints" / "step-00000020" / "shards"
    data = bytearray((shards / "__1_0.distcp").read_bytes())
    data[len(data) // 2] ^= 1
    (shards / "__1_0.distcp").write_bytes(data)
    found = call("resume", copy, "--devices", "2")
    assert found.returncode == 0, found.stderr
    assert found.stderr.count("damaged checkpoint ignored") == 1 and "shards/__1_0.distcp was changed" in found.stderr
    assert largest_difference(run, copy) == 0


def test_other_commands_read_a_checkpoint_of_shares(trained: Trained, call: Call, scene: Path) -> None:
    run = trained("image", "--devices", "2", "train.distributed=fsdp")
    assert isinstance(verify(run / "checkpoints" / "step-00000020"), CheckpointManifest)
    found = call("export", run, scene / "exported", "--to", "safetensors")
    assert found.returncode == 0, found.stderr
    found = call("reconstruct", run, "--output", scene / "filled.png")
    assert found.returncode == 0 and (scene / "filled.png").stat().st_size > 1000, found.stderr


def test_torchrun_starts_the_command(scene: Path, trained: Trained) -> None:
    run = scene / "torchrun"
    torchrun = [str(Path(sys.executable).with_name("torchrun")), "--standalone", "--nproc-per-node", "2", "--no-python", "--"]
    command = [*torchrun, str(Path(sys.executable).with_name("omnimask")), "pretrain", "image.yaml", "--run", str(run)]
    done = subprocess.run(command, cwd=scene, env=environment(scene), capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    assert largest_difference(trained("image", "--devices", "2", "train.distributed=ddp"), run) == 0
