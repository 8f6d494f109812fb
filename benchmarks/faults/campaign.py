"""One run that is killed again and again, beside one that is left alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import evidence
import processes
import witness

STEPS_PER_KILL = 40
REACH = 10
"""Steps that a run falls back at most when it is killed; the distance of checkpoints is smaller."""
MOMENTS = ("step", "checkpoint", "start", "checkpoint", "step")
"""Kinds of kills, in turn."""

RECIPE = """\
omnimask: 1
device: cpu
seed: 3
modalities:
  image:
    tokenizer: {{name: image.patch, image_size: 8, patch_size: 2, channels: 1}}
    augment: [{{name: image.flip}}]
    masker: {{name: random, ratio: 0.5}}
    corruptor: {{name: drop}}
encoder: {{name: transformer, width: 64, depth: 2, heads: 4}}
predictors:
  - {{name: decoder, width: 32, depth: 1, heads: 4, target: {{name: patch}}}}
data: {{name: digits, max_validation: 32}}
train:
  steps: {steps}
  batch_tokens: 512
  micro_batch_tokens: 128
  ema: 0.99
  optimizer: {{name: adamw, lr: 1e-3}}
  schedule: {{name: cosine, warmup: 20}}
  log_every: 1
  validate_every: 25
  checkpoint_every: 7
"""


@dataclass
class Kill:
    """One kill: when it was meant to come, and what it hit.

    Args:
        number: from 0.
        workers: loader processes of the command that is killed.
        moment: ``step``: some time after a step was logged; ``checkpoint``: as soon as one is being written after that step;
            ``start``: some time after the command was given, mostly before it trains.
        target_step: None for ``start``.
        delay: seconds.
        victims: ``all`` processes, the ``main`` one alone, or one ``rank``.
        hit_step: the last one that was logged, -1 before the first.
        half_written: what it left of a checkpoint.
        intact: published checkpoints that were there afterwards, all read and compared with their digests.
    """

    number: int
    workers: int
    moment: str
    target_step: int | None
    delay: float
    victims: str
    hit_step: int = -1
    half_written: list[str] = field(default_factory=list)
    intact: int = 0


@dataclass
class Outcome:
    """What :func:`run` found; ``differences``, ``unreadable``, ``wrong_visits`` and ``orphans`` are to be empty."""

    devices: int
    workers: Sequence[int]
    seed: int
    steps: int
    kills: list[Kill]
    differences: list[str]
    unreadable: list[str]
    wrong_visits: list[str]
    orphans: list[str]
    epochs: int
    seconds: float

    @property
    def is_exact(self) -> bool:
        return not (self.differences or self.unreadable or self.wrong_visits or self.orphans)


def run(folder: Path, devices: int, workers: Sequence[int], kills: int, seed: int, changes: Sequence[str] = ()) -> Outcome:
    """Trains twice, kills one of the two, compares. Every command is the same: it begins the run, or continues it."""
    begin = time.monotonic()
    folder.mkdir()
    plans, steps = plan(kills, devices, workers, seed)
    recipe = folder / "kill.yaml"
    recipe.write_text(RECIPE.format(steps=steps), encoding="utf-8")
    site = witness.install(folder / "site")

    def start(run_name: str, log: str, loaders: int) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
        notes, cache = folder / f"{run_name}-visits", folder / "cache"
        environment = {"PYTHONPATH": path, witness.FOLDER: str(notes), "OMNIMASK_CACHE": str(cache)}
        arguments = ["--run", folder / run_name, "--continue", f"train.workers={loaders}", *changes]
        if devices > 1:
            arguments += ["--devices", devices]
        return processes.launch(folder / log, "pretrain", recipe, *arguments, environment=environment)

    alone, killed = folder / "alone", folder / "killed"
    reference = start("alone", "alone.log", workers[0])
    startup = _startup(reference, alone, folder / "alone.log", begin)
    damaged: list[str] = []
    orphans: list[str] = []
    for kill in plans:
        log = folder / f"killed-{kill.number}.log"
        process = start("killed", log.name, kill.workers)
        if kill.moment == "start":
            kill.delay *= startup
        orphans += strike(process, kill, killed, log)
        kill.intact, found = evidence.unreadable(killed)
        damaged += found
        kill.intact -= len(found)
        hit = f"devices {devices}, kill {kill.number}: {kill.moment}, {kill.victims}, hit step {kill.hit_step}"
        print(hit, file=sys.stderr, flush=True)
    last = start("killed", "killed-end.log", workers[-1])
    for process, name in ((last, "killed-end.log"), (reference, "alone.log")):
        if process.wait(processes.TIMEOUT) != 0:
            raise RuntimeError(f"exit code {process.returncode}:\n{(folder / name).read_text()}")
    noted = {name: witness.visits(folder / f"{name}-visits") for name in ("alone", "killed")}
    epochs, wrong = evidence.wrong_visits(noted["alone"], noted["killed"], steps)
    damaged += evidence.unreadable(killed)[1]
    different = evidence.differences(alone, killed)
    return Outcome(devices, workers, seed, steps, plans, different, damaged, wrong, orphans, epochs, time.monotonic() - begin)


def plan(kills: int, devices: int, workers: Sequence[int], seed: int) -> tuple[list[Kill], int]:
    """The kills, of all kinds in turn, each in a stretch of steps of its own, at moments drawn from the seed; and all steps."""
    rng = random.Random(seed)
    victims_of = ("all", "all", "main") if devices == 1 else ("all", "main", "rank")
    plans: list[Kill] = []
    stretch = 0
    for number in range(kills):
        moment = MOMENTS[number % len(MOMENTS)]
        victims = rng.choice(victims_of)
        if moment == "start":
            target, delay, victims = None, rng.uniform(0, 1.1), "all"
        else:
            target = stretch * STEPS_PER_KILL + rng.randint(REACH if stretch else 1, STEPS_PER_KILL - REACH)
            delay = rng.uniform(0, 0.05)
            stretch += 1
        plans.append(Kill(number, workers[number % len(workers)], moment, target, delay, victims))
    return plans, STEPS_PER_KILL * (stretch + 1)


def strike(process: subprocess.Popen[bytes], kill: Kill, run_folder: Path, log: Path) -> list[str]:
    """Waits for the moment, kills, notes what was hit, and says which processes did not end by themselves."""

    def wait_until(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + processes.TIMEOUT
        while not condition():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"kill {kill.number} came too late, exit code {process.returncode}:\n{log.read_text()}")
            time.sleep(0.0005)

    before = evidence.half_written(run_folder)
    if kill.target_step is not None:
        target = kill.target_step
        wait_until(lambda: evidence.last_step(run_folder) >= target)
    family = processes.family(process.pid)
    if kill.moment == "checkpoint":
        wait_until(lambda: evidence.half_written(run_folder))
    else:
        time.sleep(kill.delay)
    if kill.moment == "start":
        family = processes.family(process.pid)
    processes.kill(_victims(kill, family))
    code = process.wait(processes.TIMEOUT)
    if code == 0 or (kill.victims != "rank" and code != -signal.SIGKILL):
        raise RuntimeError(f"kill {kill.number} came too late, exit code {code}:\n{log.read_text()}")
    left = processes.still_there(family, patience=30.0)
    kill.hit_step = evidence.last_step(run_folder)
    left_before = before if kill.moment == "start" else []  # training begins with their removal
    kill.half_written = [name for name in evidence.half_written(run_folder) if name not in left_before]
    return [f"kill {kill.number}: process {one}" for one in left]


def _victims(kill: Kill, family: Sequence[int]) -> list[int]:
    """Of a family, the launched process first; ranks are the children of a launcher."""
    if kill.victims == "all":
        return list(family)
    if kill.victims == "main":
        return [family[0]]
    ranks = [process for process in family if _has_rank(process)]
    return [ranks[kill.number % len(ranks)]]


def _has_rank(process: int) -> bool:
    """Whether a process is one of several that train together, and no loader process of one."""
    try:
        variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
        parent = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1]
        of_parent = Path(f"/proc/{parent}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(one.startswith(b"RANK=") for one in variables) and not any(one.startswith(b"RANK=") for one in of_parent)


def _startup(process: subprocess.Popen[bytes], run_folder: Path, log: Path, begin: float) -> float:
    """Seconds from a command to its first step."""
    while evidence.last_step(run_folder) < 1:
        if process.poll() is not None or time.monotonic() - begin > processes.TIMEOUT:
            raise RuntimeError(f"the run that is left alone ended with exit code {process.returncode}:\n{log.read_text()}")
        time.sleep(0.01)
    return time.monotonic() - begin


def totals(outcomes: Sequence[Outcome]) -> Mapping[str, int]:
    """Sums over campaigns, for a report."""
    kills = [kill for outcome in outcomes for kill in outcome.kills]
    return {
        "kills": len(kills),
        "inside a checkpoint": sum(bool(kill.half_written) for kill in kills),
        "before the first step": sum(kill.hit_step < 0 or kill.moment == "start" for kill in kills),
        "steps": sum(outcome.steps for outcome in outcomes),
        "epochs": sum(outcome.epochs for outcome in outcomes),
        "checkpoints read": sum(kill.intact for kill in kills),
        "differences": sum(len(outcome.differences) for outcome in outcomes),
        "unreadable checkpoints": sum(len(outcome.unreadable) for outcome in outcomes),
        "wrong visits": sum(len(outcome.wrong_visits) for outcome in outcomes),
        "orphans": sum(len(outcome.orphans) for outcome in outcomes),
    }
