"""Several processes as one command: their exit codes become one, signals reach all, nobody stays behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from omnimask.run import launch as module
from omnimask.run.launch import launch


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Two processes that run a line of Python in which ``rank`` and ``Path`` are known."""
    monkeypatch.setattr(module, "GRACE", 0.5)
    monkeypatch.chdir(tmp_path)

    def start(line: str, count: int = 2) -> int:
        begin = "import os, signal, sys, time; from pathlib import Path; rank = int(os.environ['RANK'])\n"
        launcher = module._Launcher([], count)
        launcher.command = [sys.executable, "-c", begin + line]
        return launcher.run()

    return start


@pytest.mark.parametrize(
    ("line", "code"), [("pass", 0), ("sys.exit(2)", 2), ("sys.exit(75)", 75), ("sys.exit(0 if rank else 1)", 1)]
)
def test_the_exit_code_stands_for_all(run, line: str, code: int) -> None:
    assert run(line) == code


def test_a_failure_ends_the_others(run, capfd) -> None:
    begin = time.monotonic()
    assert run("Path(f'{rank}').write_text(str(os.getpid())); time.sleep(0 if rank else 60); sys.exit(70)") == 70
    assert time.monotonic() - begin < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int(Path("0").read_text()), 0)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("code", [0, 1, 2, 75, 143])
def test_the_reported_end_counts_if_a_process_aborts_while_it_exits(run, capfd, code: int) -> None:
    leave = f"from omnimask.run.launch import exit_reporter; report = exit_reporter(); report({code}); "
    assert run(f"{leave}time.sleep(0 if rank else 0.3); os.abort() if rank else sys.exit({code})") == code
    assert run(f"{leave}time.sleep(0.3 if rank else 0); sys.exit({code}) if rank else os.abort()") == code
    assert "killed by" not in capfd.readouterr().err
    assert run(f"os.abort() if rank else sys.exit({code})") == 1
    assert "rank 1 (of 2) was killed by SIGABRT" in capfd.readouterr().err


def test_a_process_that_was_killed_is_named(run, capfd) -> None:
    assert run("os.kill(os.getpid(), 9) if rank else sys.exit(1)") == 1
    assert "the process of rank 1 (of 2) was killed by SIGKILL" in capfd.readouterr().err


def test_one_that_takes_its_time_after_an_interruption_is_waited_for(run) -> None:
    """Longer than the others are given after a failure: it may be writing a checkpoint."""
    line = (
        "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0 if rank else 2), Path(f'{rank}').touch(), sys.exit(143)))\n"
        "Path(f'ready{rank}').touch()\n"
        "time.sleep(60)"
    )

    def interrupt() -> None:
        while not (Path("ready0").exists() and Path("ready1").exists()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert run(line) == 143
    thread.join()
    assert Path("0").exists() and Path("1").exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_processes_find_each_other_as_torchrun_says(run) -> None:
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    assert run(f"Path(f'{{rank}}').write_text(repr([os.environ[name] for name in {names}]))", 3) == 0
    found = [Path(str(rank)).read_text() for rank in range(3)]
    port = found[0].rpartition("'")[0].rpartition("'")[2]
    assert found == [repr([str(rank), str(rank), "3", "3", "127.0.0.1", port]) for rank in range(3)]


def test_wrong_input_is_found_by_the_processes(capfd, tmp_path: Path) -> None:
    assert launch(["components", "nothing-of-this-kind"], 1) == 2
    assert "nothing-of-this-kind" in capfd.readouterr().err
