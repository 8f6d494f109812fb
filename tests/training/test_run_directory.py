from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from omnimask.errors import UserError
from omnimask.training.checkpoints.run_directory import RunDirectory


def test_create_makes_the_layout(tmp_path) -> None:
    run = RunDirectory(tmp_path / "runs" / "one")
    run.create("omnimask: 1\n", {"omnimask-birds": "1.2"})
    assert {path.name for path in run.path.iterdir()} == {"recipe.yaml", "environment.json", "checkpoints", "figures", "logs"}
    assert run.recipe.read_text() == "omnimask: 1\n"
    environment = json.loads(run.environment.read_text())
    assert environment["plugins"] == {"omnimask-birds": "1.2"} and "torch" in environment["versions"]


def test_a_folder_with_something_in_it_is_refused(tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"not empty.*omnimask resume"):
        RunDirectory(tmp_path).create("")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(UserError, match="is a file"):
        RunDirectory(tmp_path / "notes.txt").create("")


def test_an_empty_folder_will_do(tmp_path) -> None:
    RunDirectory(tmp_path).create("")


def test_making_the_object_touches_nothing(tmp_path) -> None:
    RunDirectory(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_two_trainers_of_one_process_exclude_each_other(tmp_path) -> None:
    run = RunDirectory(tmp_path)
    with run.locked(), pytest.raises(UserError, match="another process is training"), RunDirectory(tmp_path).locked():
        pass
    with run.locked():
        pass


HOLDER = """
    import os, sys, time
    from omnimask.training.checkpoints.run_directory import RunDirectory
    with RunDirectory(sys.argv[1]).locked():
        if os.fork() == 0:
            time.sleep(60)  # a loader worker that outlives its parent
            os._exit(0)
        print("held", flush=True)
        time.sleep(60)
"""


@pytest.mark.process
def test_another_process_is_kept_out_until_it_dies(tmp_path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
            with pytest.raises(UserError, match="another process is training"), RunDirectory(tmp_path).locked():
                pass
            holder.kill()
            holder.wait()
            with RunDirectory(tmp_path).locked():
                pass
        finally:
            _end_group(holder.pid)


def _end_group(pid: int) -> None:
    import contextlib
    import os
    import signal

    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def test_where_nothing_can_be_written_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (Path("/proc/omnimask"), tmp_path / "file" / "run", tmp_path / "a\0b", tmp_path / ("x" * 300), tmp_path / "file"):
        with pytest.raises(UserError, match=r"choose another --run|is a file; must be a folder"):
            RunDirectory(place).check_new()
    RunDirectory(tmp_path / "new" / "run").check_new()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
