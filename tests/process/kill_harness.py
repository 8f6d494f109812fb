"""Kills a training run with SIGKILL at random moments, resumes it each time, and compares it with one that nobody killed.

    python tests/process/kill_harness.py --kills 12 --output kills.json

Every kill comes at a step drawn from the seed: either a random fraction of a second after that step was logged, or in the middle
of the next checkpoint. Some hit the main process alone, others its loader workers too. Every process is a new one, with 0 or 2
workers in turn. At the end the losses of all steps (bit for bit) and the last checkpoint's weights must be those of a run that was
left alone. Exit code 0 if they are.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

STEPS_PER_KILL = 60
WORKERS = (0, 2)
TIMEOUT = 180.0
"""Seconds after which a process that does not get anywhere is given up."""

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
  micro_batch_tokens: 256
  ema: 0.99
  optimizer: {{name: adamw, lr: 1e-3}}
  schedule: {{name: cosine, warmup: 20}}
  log_every: 1
  validate_every: 25
  checkpoint_every: 7
"""


@dataclass
class Kill:
    """One kill: when it was meant to come, and what it hit. ``half_written`` are what it left of a checkpoint."""

    number: int
    workers: int
    target_step: int
    moment: str
    delay: float
    is_main_alone: bool
    hit_step: int = -1
    half_written: list[str] = field(default_factory=list)


@dataclass
class Outcome:
    """What :func:`run` found; ``differences`` names what is not as in the run that was left alone."""

    seed: int
    steps: int
    kills: list[Kill]
    differences: list[str]
    orphans: list[int]
    seconds: float

    @property
    def is_exact(self) -> bool:
        return not self.differences and not self.orphans


def run(folder: Path, kills: int, seed: int) -> Outcome:
    """Trains twice, kills one of the two, compares."""
    begin = time.monotonic()
    steps = STEPS_PER_KILL * (kills + 1)
    recipe = folder / "kill.yaml"
    recipe.write_text(RECIPE.format(steps=steps), encoding="utf-8")
    alone, killed = folder / "alone", folder / "killed"
    reference = launch(folder / "alone.log", "pretrain", recipe, "--run", alone)
    groups: list[int] = []
    done: list[Kill] = []
    for plan in plan_kills(kills, seed):
        arguments = ["resume", killed, f"train.workers={plan.workers}"]
        if not done:
            arguments = ["pretrain", recipe, "--run", killed, f"train.workers={plan.workers}"]
        process = launch(folder / f"killed-{plan.number}.log", *arguments)
        groups.append(process.pid)
        strike(process, plan, killed, folder / f"killed-{plan.number}.log")
        done.append(plan)
        print(
            f"kill {plan.number}: {plan.moment}, aimed at step {plan.target_step}, hit {plan.hit_step}", file=sys.stderr, flush=True
        )
    last = launch(folder / "killed-end.log", "resume", killed, f"train.workers={WORKERS[kills % 2]}")
    groups.append(last.pid)
    for process, name in ((last, "killed-end.log"), (reference, "alone.log")):
        if process.wait(TIMEOUT) != 0:
            raise RuntimeError(f"exit code {process.returncode}:\n{(folder / name).read_text()}")
    orphans = [group for group in groups if not is_gone(group)]
    return Outcome(seed, steps, done, compare(alone, killed), orphans, time.monotonic() - begin)


def plan_kills(kills: int, seed: int) -> list[Kill]:
    """One kill in every stretch of steps, of all kinds in turn, at moments drawn from the seed."""
    rng = random.Random(seed)
    return [
        Kill(
            number,
            WORKERS[number % 2],
            # a run may fall back by a checkpoint's distance, so targets keep that far from the stretch's begin
            number * STEPS_PER_KILL + rng.randint(1 if number == 0 else 10, STEPS_PER_KILL - 10),
            "checkpoint" if number // 2 % 2 else "step",
            rng.uniform(0, 0.05),
            (number + number // 4) % 2 == 1,
        )
        for number in range(kills)
    ]


def launch(log: Path, *arguments: Any) -> subprocess.Popen[bytes]:
    """``omnimask ...`` in a process group of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMNIMASK_CACHE": str(log.parent / "cache")}
    command = [sys.executable, "-m", "omnimask", *map(str, arguments)]
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True, cwd=log.parent)


def strike(process: subprocess.Popen[bytes], kill: Kill, run_folder: Path, log: Path) -> None:
    """Waits for the moment, kills, and notes what was hit."""

    def wait_until(condition: Any) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not condition():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"kill {kill.number} came too late, exit code {process.returncode}:\n{log.read_text()}")
            time.sleep(0.0005)

    wait_until(lambda: last_step(run_folder) >= kill.target_step)
    if kill.moment == "checkpoint":
        wait_until(lambda: half_written(run_folder))
    else:
        time.sleep(kill.delay)
    with contextlib.suppress(ProcessLookupError):
        (os.kill if kill.is_main_alone else os.killpg)(process.pid, signal.SIGKILL)
    if process.wait(TIMEOUT) != -signal.SIGKILL:
        raise RuntimeError(f"kill {kill.number} came too late, exit code {process.returncode}:\n{log.read_text()}")
    kill.hit_step = last_step(run_folder)
    kill.half_written = half_written(run_folder)


def last_step(run_folder: Path) -> int:
    """The last whole line's step in ``metrics.jsonl``."""
    with contextlib.suppress(OSError, ValueError, IndexError), (run_folder / "metrics.jsonl").open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
        return json.loads(file.read().rpartition(b"\n")[0].rpartition(b"\n")[2])["step"]
    return -1


def half_written(run_folder: Path) -> list[str]:
    """Names of what is being written, or was when the process died."""
    with contextlib.suppress(OSError):
        return sorted(entry.name for entry in os.scandir(run_folder / "checkpoints") if entry.name.endswith(".tmp"))
    return []


def is_gone(group: int, patience: float = 20.0) -> bool:
    """Whether a killed process's workers have ended by themselves."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.2)
    return False


def compare(alone: Path, killed: Path) -> list[str]:
    """What differs: losses of steps and validations bit for bit, and the last checkpoint's weights."""
    expected, found = losses(alone), losses(killed)
    differences = [
        f"{name}: {expected.get(name)} and {found.get(name)}"
        for name in sorted({*expected, *found})
        if expected.get(name) != found.get(name)
    ]
    checkpoint = json.loads((alone / "summary.json").read_text())["last_checkpoint"]
    for name in ("model.safetensors", "ema.safetensors"):
        digests = {hashlib.sha256((run / "checkpoints" / checkpoint / name).read_bytes()).hexdigest() for run in (alone, killed)}
        if len(digests) > 1:
            differences.append(f"{name} of {checkpoint}")
    if left := half_written(killed):
        differences.append(f"half-written checkpoints are left: {left}")
    return differences


def losses(run_folder: Path) -> dict[str, str]:
    """Every loss of ``metrics.jsonl`` in hexadecimal, by key and step; a step that is there twice is an error."""
    found: dict[str, str] = {}
    for line in (run_folder / "metrics.jsonl").read_text().splitlines():
        values = json.loads(line)
        for key in ("loss", "validation_loss"):
            if key in values:
                name = f"{key} of step {values['step']:05d}"
                if name in found:
                    raise RuntimeError(f"{run_folder}: {name} is there twice")
                found[name] = float.hex(values[key])
    return found


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="where the result is written as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="omnimask-kills-") as folder:
        outcome = run(Path(folder), options.kills, options.seed)
    result = {"is_exact": outcome.is_exact, **asdict(outcome)}
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    at_checkpoint = sum(bool(kill.half_written) for kill in outcome.kills)
    print(
        f"{len(outcome.kills)} kills, {at_checkpoint} of them inside a checkpoint, {outcome.steps} steps, "
        f"{outcome.seconds:.0f} s: {'equal bit for bit' if outcome.is_exact else 'DIFFERENT'}"
    )
    for difference in outcome.differences:
        print(difference)
    return 0 if outcome.is_exact else 1


if __name__ == "__main__":
    sys.exit(main())
