"""What was saved by some processes is continued by others: the same losses, every sample of the epoch once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from omnimask.training.checkpoints.contents import read_weights

from .conftest import Call, Trained, curve, largest_difference, visits_of, witness

pytestmark = pytest.mark.process

EPOCH = ("train.batch_tokens=4096", "train.micro_batch_tokens=1024", "train.steps=9", "train.checkpoint_every=3")
"""256 images a step: an epoch of 1,707 ends in the seventh."""


def continued(call: Call, run: Path, name: str, last: str, *arguments: str) -> Path:
    """The run from an earlier checkpoint on, in a copy."""
    copy = run.with_name(name)
    shutil.copytree(run, copy)
    for checkpoint in (copy / "checkpoints").glob("step-*"):
        if checkpoint.name > last:
            shutil.rmtree(checkpoint)
    found = call("resume", copy, *arguments, OMNIMASK_WITNESS=str(visits_of(copy)))
    assert found.returncode == 0, found.stderr
    return copy


@pytest.mark.parametrize(
    ("saved", "resumed"),
    [
        ("ddp", ()),
        ("ddp", ("--devices", "3", "train.distributed=fsdp")),
        ("fsdp", ()),
        ("fsdp", ("--devices", "3")),
        ("fsdp", ("--devices", "2", "train.distributed=ddp")),
    ],
)
def test_saved_on_two_resumed_on_others(trained: Trained, call: Call, saved: str, resumed: tuple[str, ...]) -> None:
    run = trained("image", "--devices", "2", f"train.distributed={saved}", *EPOCH, "train.keep_checkpoints=9")
    name = "-".join(("resumed", saved, *resumed)).replace("=", "-")
    copy = continued(call, run, name, "step-00000003", *resumed)
    assert largest_difference(run, copy) < 1e-5
    before, after = (witness().visits(visits_of(path)) for path in (run, copy))
    assert sorted(after) == [4, 5, 6, 7, 8, 9]
    assert all(sorted(after[step]) == sorted(before[step]) for step in after)
    keys = [key for step in range(1, 10) for key in ({**before, **after})[step]]
    held = len(set(keys))
    assert held > 1600 and len(keys) > held + 256
    steps_of_first = [step for step in range(1, 10) if 256 * step <= held]
    first = [key for step in steps_of_first for key in ({**before, **after})[step]]
    assert len(first) == len(set(first)) == 256 * len(steps_of_first)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_as_many_processes_continue_bit_for_bit(trained: Trained, call: Call, strategy: str) -> None:
    run = trained("image", "--devices", "2", f"train.distributed={strategy}", *EPOCH, "train.keep_checkpoints=9")
    copy = continued(call, run, f"exact-{strategy}", "step-00000003", "--devices", "2")
    assert curve(copy) == curve(run)


def test_a_teacher_in_shares_is_resumed_whole(trained: Trained, call: Call) -> None:
    """Saved by two processes in shares, continued by one: the same losses, whose targets are the teacher's."""
    run = trained("latent", "--devices", "2", "train.distributed=fsdp")
    copy = continued(call, run, "resumed-latent", "step-00000010", "--devices", "1")
    assert largest_difference(run, copy) < 1e-5
    expected, found = (read_weights(path / "checkpoints" / "step-00000020") for path in (run, copy))
    teacher = [name for name in expected if name.startswith("networks.teacher.")]
    assert teacher
    for name in teacher:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-6)
