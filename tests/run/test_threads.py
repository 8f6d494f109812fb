"""How many threads a run computes with, and how they wait."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from omnimask.data import worker_processes
from omnimask.data.worker_processes import usable_cores
from omnimask.run import threads
from omnimask.run.threads import choose_threads, wait_briefly


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 8)
    for name in ("OMP_NUM_THREADS", "LOCAL_WORLD_SIZE", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("workers", "world", "expected"), [(0, 1, 8), (2, 1, 6), (8, 1, 1), (20, 1, 1), (0, 4, 2), (1, 4, 1), (0, 3, 2)]
)
def test_cores_are_shared_with_loader_workers_and_other_ranks(
    workers: int, world: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(world))
    assert choose_threads("auto", workers) == expected


def test_the_recipe_and_the_environment_decide_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_threads(3, workers=2, recorded=5) == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert choose_threads("auto", workers=2, recorded=5) == torch.get_num_threads()


def test_a_run_keeps_its_number(caplog: pytest.LogCaptureFixture) -> None:
    assert choose_threads("auto", workers=2, recorded=8) == 8
    assert not caplog.records
    assert choose_threads("auto", workers=0, recorded=64) == 8
    assert "the run was started with 64 threads, but 8 cores are available" in caplog.text


def test_quotas_of_control_groups_count(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    for text, expected in (("150000 100000\n", 2), ("max 100000\n", 16), ("10000 100000\n", 1), ("3200000 100000\n", 16), ("", 16)):
        path = tmp_path / "cpu.max"  # pyright: ignore[reportOperatorIssue]
        path.write_text(text)
        monkeypatch.setattr(worker_processes, "_QUOTA", path)
        assert usable_cores() == expected


def test_threads_wait_briefly_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    wait_briefly()
    assert "GOMP_SPINCOUNT" not in os.environ
    monkeypatch.delenv("OMP_WAIT_POLICY")
    wait_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == "10000"


@pytest.mark.process
def test_the_command_sets_it_before_torch_is_imported() -> None:
    code = """
import os, sys
from omnimask import cli
cli.main = lambda: print('torch' in sys.modules, os.environ.get('GOMP_SPINCOUNT')) or 0
cli.entry()
"""
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "10000"], done.stderr
