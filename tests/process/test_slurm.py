"""The job script, run from end to end with programs in the place of SLURM's that do what its manual says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ..tiny_recipes import IMAGE

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "slurm" / "pretrain.sbatch"

SRUN = f"""\
#!{sys.executable}
# Starts a command once for each task, with its numbers; what it is sent, they are sent; ends with the highest exit code.
import os, signal, subprocess, sys

command = sys.argv[1:]
while command[0].startswith("-"):
    command.pop(0)
count = int(os.environ["SLURM_NTASKS"])
tasks = []
def pass_on(number, frame):
    for task in tasks:
        task.send_signal(number)
signal.signal(signal.SIGUSR1, pass_on)
for number in range(count):
    numbers = {{"SLURM_PROCID": str(number), "SLURM_LOCALID": str(number)}}
    tasks.append(subprocess.Popen(command, env={{**os.environ, **numbers}}))
with open(os.environ["FAKES"] + "/srun.pid", "w") as file:
    file.write(str(os.getpid()))
codes = [task.wait() for task in tasks]
sys.exit(max(code if code >= 0 else 128 - code for code in codes))
"""

SCONTROL = """\
#!/bin/bash
# Names the only node, and notes which job is to be queued again.
if [ "$1 $2" = "show hostnames" ]; then
    [ "$3" = "$SLURM_JOB_NODELIST" ] && echo 127.0.0.1
elif [ "$1" = requeue ]; then
    echo "$2" >> "$FAKES/requeued"
else
    exit 1
fi
"""

RECIPE = (
    IMAGE.replace("steps: 6", "steps: 120")
    .replace("validate_every: 3", "validate_every: 60")
    .replace("checkpoint_every: 2", "checkpoint_every: 60")
)

Job = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def fakes(tmp_path: Path) -> Path:
    """A folder with ``srun`` and ``scontrol``."""
    folder = tmp_path / "fakes"
    folder.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def job(tmp_path: Path, fakes: Path) -> Job:
    """Starts the script as SLURM would."""
    (tmp_path / "tiny.yaml").write_text(RECIPE)

    def start(*arguments: str, tasks: int = 1, script: Path = SCRIPT, **variables: str) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "PATH": f"{fakes}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "FAKES": str(fakes),
            "SLURM_JOB_ID": str(os.getpid()),
            "SLURM_JOB_NODELIST": "node[1-1]",
            "SLURM_NTASKS": str(tasks),
            "SLURM_CPUS_PER_TASK": "1",
            "OMNIMASK_CACHE": str(tmp_path / "cache"),
            **variables,
        }
        pipe = subprocess.PIPE
        return subprocess.Popen(
            ["bash", str(script), *arguments], cwd=tmp_path, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True
        )

    return start


def wait_for_step(run: Path, step: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not (run / "metrics.jsonl").exists() or f'"step": {step},' not in (run / "metrics.jsonl").read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(process.communicate()[0])
        time.sleep(0.01)


def losses(run: Path) -> Mapping[int, float]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


@pytest.mark.process
@pytest.mark.parametrize("tasks", [1, 2])
def test_a_job_is_signalled_queued_again_once_and_finishes(job: Job, fakes: Path, tmp_path: Path, tasks: int) -> None:
    run = tmp_path / "run"
    first = job("tiny.yaml", "run", tasks=tasks)
    wait_for_step(run, 20, first)
    os.kill(int((fakes / "srun.pid").read_text()), signal.SIGUSR1)
    output = first.communicate(timeout=120)[0]
    assert first.returncode == 138, output
    assert "the run is not finished: the job is queued again" in output
    assert (fakes / "requeued").read_text() == f"{os.getpid()}\n"
    assert 20 <= json.loads((run / "summary.json").read_text())["step"] < 120

    second = job("tiny.yaml", "run", tasks=tasks, SLURM_RESTART_COUNT="1")
    output = second.communicate(timeout=200)[0]
    assert second.returncode == 0, output
    assert (fakes / "requeued").read_text() == f"{os.getpid()}\n", "a run that is finished is not queued again"
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"
    assert sorted(losses(run)) == list(range(1, 121))

    if tasks == 1:
        third = job("tiny.yaml", "run")
        assert third.wait(120) == 0, "a job too many does nothing"
        alone = job("tiny.yaml", "alone")
        assert alone.wait(200) == 0
        assert losses(tmp_path / "alone") == losses(run)


@pytest.mark.process
def test_a_job_that_was_killed_or_is_wrong_is_not_queued_again(job: Job, fakes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = job("tiny.yaml", "run")
    wait_for_step(run, 20, first)
    os.kill(int((fakes / "srun.pid").read_text()), signal.SIGUSR1)
    first.communicate(timeout=120)
    second = job("tiny.yaml", "run")
    wait_for_step(run, 50, second)
    children = Path(f"/proc/{int((fakes / 'srun.pid').read_text())}/task")
    for child in next(children.iterdir()).joinpath("children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    assert second.wait(120) == 137
    assert len((fakes / "requeued").read_text().splitlines()) == 1, "the summary of the attempt before says nothing of this one"
    wrong = job("tiny.yaml", "run", "seed=7")
    output = wrong.communicate(timeout=120)[0]
    assert wrong.returncode == 2 and "seed: 0 cannot change to 7" in output
    assert job().wait(30) == 2


def test_the_script_is_sound_and_copies_shards_to_the_node(job: Job, fakes: Path, tmp_path: Path) -> None:
    assert subprocess.run(["bash", "-n", str(SCRIPT)]).returncode == 0
    options = [line.split()[1] for line in SCRIPT.read_text().splitlines() if line.startswith("#SBATCH")]
    assert {"--requeue", "--signal=USR1@300", "--open-mode=append"} <= set(options)
    (fakes / "srun").write_text('#!/bin/bash\nprintf "%s\\n" "$MASTER_ADDR" "$OMP_NUM_THREADS" "$@"\n')
    process = job("photos.yaml", "run", "data.url=https://host/shards", "seed=3", SLURM_TMPDIR="/scratch", SLURM_CPUS_PER_TASK="6")
    lines = process.communicate(timeout=30)[0].splitlines()
    assert process.returncode == 0
    assert lines[:2] == ["127.0.0.1", "6"]
    expected = ["photos.yaml", "data.url=https://host/shards", "seed=3", "data.cache.folder=/scratch/omnimask-shards"]
    assert lines[-7:] == [*expected, "--run", "run", "--continue"]
    assert "data.cache" not in job("photos.yaml", "run").communicate(timeout=30)[0]
