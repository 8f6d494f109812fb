"""Kills runs of random recipes at random times, resumes them with other numbers of loader workers, and compares every loss.

    python benchmarks/faults/storm.py --kills 1000 --recipes 14

A recipe is a shipped one, shrunk onto embedded data, with optimizer, schedule, masker, positions, averages and sizes drawn from the
seed. One run of it is left alone. Others are killed: every command runs in a process group of its own, which is killed whole, or
the main process alone, at a random time after its start. The next command, the same but for the number of workers, continues the
run. Runs that reach their end are compared with the one that was left alone: losses of all steps (bit for bit), the last
checkpoint's weights, the samples of every step. After every kill all checkpoints are read.

Commands run in forked copies of this process, which spares them the imports. Exit code 0 if nothing differs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NoReturn

import evidence
import processes
import witness

RESULT = Path(__file__).parents[1] / "results" / "storm_of_kills.json"
STEPS, REACH = 40, 8
WORKERS = (0, 2, 1)
"""Loader processes of one command after the other."""
_TRIES = 40

OPTIMIZERS = ("{name: adamw, lr: 1.0e-3}", "{name: adamw, lr: 3.0e-4, weight_decay: 0.1}", "{name: sgd, lr: 1.0e-2, momentum: 0.9}")
SCHEDULES = (
    "{name: cosine, warmup: 5}",
    "{name: linear, warmup: 3}",
    "{name: constant}",
    "{name: warmup_stable_decay, warmup: 4, decay: 10}",
)
POSITIONS = ("{name: sincos}", "{name: learned}", "{name: rotary}", "{name: none}", "{name: alibi}")
MASKERS = ("{name: random, ratio: %.2f}", "{name: span, ratio: %.2f}", "{name: block, ratio: %.2f}", "{name: ngram, ratio: %.2f}")


@dataclass
class Report:
    """What happened to the runs of one recipe; all lists are to be empty but ``changes``."""

    recipe: str
    changes: Sequence[str]
    kills: int = 0
    before_the_first_step: int = 0
    inside_a_checkpoint: int = 0
    finished: int = 0
    checkpoints_read: int = 0
    differences: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    wrong_visits: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_exact(self) -> bool:
        return not (self.differences or self.unreadable or self.wrong_visits or self.orphans or self.refused)


def draw_recipe(rng: random.Random, name: str) -> tuple[list[str], str]:
    """Changes to a shipped recipe, drawn until they fit it, and the shrunk recipe as text.

    Raises:
        RuntimeError: none of many draws fits.
    """
    from omnimask.builder.build import build
    from omnimask.errors import UserError
    from omnimask.recipe import load_recipe

    modality = name.partition("/")[0]
    refusal: Exception | None = None
    for _ in range(_TRIES):
        changes = [
            f"seed={rng.randrange(1000)}",
            f"train.steps={STEPS}",
            "train.log_every=1",
            "train.threads=1",  # auto depends on the loader workers, and sums over other threads are rounded otherwise
            f"train.checkpoint_every={rng.randint(3, 9)}",
            f"train.validate_every={rng.choice((7, 13, 20))}",
            f"train.optimizer={rng.choice(OPTIMIZERS)}",
            f"train.schedule={rng.choice(SCHEDULES)}",
            f"train.ema={rng.choice(('null', '0.9'))}",
            f"train.clip={rng.choice(('null', '0.5'))}",
        ]
        if rng.random() < 0.5:
            changes.append(f"encoder.position={rng.choice(POSITIONS)}")
        if rng.random() < 0.5 and modality in ("image", "text"):
            changes.append(f"modalities.{modality}.masker={rng.choice(MASKERS) % rng.uniform(0.15, 0.6)}")
        try:
            recipe = load_recipe(name, changes, smoke=True)
            build(recipe, initialise=False)
            return changes, recipe.to_yaml()
        except UserError as error:
            refusal = error
    raise RuntimeError(f"no draw of {_TRIES} fits {name}: {refusal}")


class Commands:
    """Starts ``omnimask`` in forked copies of this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        os.environ["OMNIMASK_CACHE"] = str(folder / "cache")

    def start(self, notes: Path, *arguments: object) -> tuple[int, Path]:
        """Its process and its log."""
        self.count += 1
        log = self.folder / f"command-{self.count}.log"
        sys.stdout.flush()
        sys.stderr.flush()
        process = os.fork()
        if not process:
            self._child(log, notes, [str(one) for one in arguments])
        with contextlib.suppress(OSError):
            os.setpgid(process, process)
        return process, log

    def _child(self, log: Path, notes: Path, arguments: list[str]) -> NoReturn:
        code = 70
        try:
            os.setpgid(0, 0)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            for stream in (1, 2):
                os.dup2(output, stream)
            os.environ[witness.FOLDER] = str(notes)
            from omnimask.cli import main

            code = main(arguments)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def storm(folder: Path, name: str, kills: int, rng: random.Random, until: float) -> Report:
    """Trains a random variant of a recipe alone, then kills others of its runs ``kills`` times."""
    begin = time.monotonic()
    folder.mkdir()
    changes, text = draw_recipe(rng, name)
    report = Report(name, changes)
    recipe = folder / "recipe.yaml"
    recipe.write_text(text, encoding="utf-8")
    commands = Commands(folder)
    alone = folder / "alone"
    startup = _left_alone(commands, recipe, alone, report)
    number = 0
    while report.kills < kills and report.is_exact and time.monotonic() < until:
        number += 1
        killed = folder / f"killed-{number}"
        while report.is_exact:
            command = ["pretrain", recipe, "--run", killed, "--continue", f"train.workers={WORKERS[commands.count % len(WORKERS)]}"]
            process, log = commands.start(folder / f"{killed.name}-visits", *command)
            may_kill = report.kills < kills and time.monotonic() < until
            code = _until_the_moment(process, killed, startup, rng) if may_kill else _ended(process, processes.TIMEOUT)
            if code is None and not may_kill:
                report.refused.append(f"it did not end within {processes.TIMEOUT} s: {log.read_text()[-2000:]}")
            if code is None:
                _strike(process, killed, rng, report)
                continue
            if code:
                report.refused.append(f"exit code {code}: {log.read_text()[-2000:]}")
            break
        if report.is_exact:
            _compare(folder, alone, killed, report)
            shutil.rmtree(killed)
    report.seconds = time.monotonic() - begin
    return report


def _until_the_moment(process: int, killed: Path, startup: float, rng: random.Random) -> int | None:
    """Waits for a random time in which a command starts, or until it took some steps more; its exit code if it ended before."""
    if rng.random() < 0.3:
        return _ended(process, rng.uniform(0, startup))
    target, deadline = max(evidence.last_step(killed), 0) + rng.randint(1, REACH), time.monotonic() + processes.TIMEOUT
    while evidence.last_step(killed) < target and time.monotonic() < deadline:
        if (code := _ended(process, 0.002)) is not None:
            return code
    return _ended(process, rng.uniform(0, 0.1))


def _left_alone(commands: Commands, recipe: Path, alone: Path, report: Report) -> float:
    """Seconds to the first step of a run that ends by itself."""
    begin = time.monotonic()
    process, log = commands.start(alone.with_name("alone-visits"), "pretrain", recipe, "--run", alone, "train.workers=0")
    while evidence.last_step(alone) < 1 and _ended(process, 0.005) is None:
        pass
    startup = time.monotonic() - begin
    code = _ended(process, processes.TIMEOUT)
    if code != 0:
        how = f"did not end within {processes.TIMEOUT} s" if code is None else f"ended with {code}"
        report.refused.append(f"the run that was left alone {how}: {log.read_text()[-2000:]}")
    return startup


_codes: dict[int, int] = {}


def _ended(process: int, seconds: float) -> int | None:
    """The exit code, or minus the signal, of a process that ends in time."""
    deadline = time.monotonic() + seconds
    while process not in _codes:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            _codes[process] = os.waitstatus_to_exitcode(status)
        elif time.monotonic() > deadline:
            return None
        else:
            time.sleep(0.001)
    return _codes[process]


def _strike(process: int, killed: Path, rng: random.Random, report: Report) -> None:
    family = processes.family(process)
    if rng.random() < 0.7:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
    else:
        processes.kill([process])
    _ended(process, processes.TIMEOUT)
    report.orphans += [f"kill {report.kills}: process {one}" for one in processes.still_there(family, patience=30.0)]
    report.kills += 1
    report.before_the_first_step += evidence.last_step(killed) < 0
    report.inside_a_checkpoint += bool(evidence.half_written(killed))
    count, damaged = evidence.unreadable(killed) if killed.exists() else (0, [])
    report.checkpoints_read += count
    report.unreadable += damaged


def _compare(folder: Path, alone: Path, killed: Path, report: Report) -> None:
    report.finished += 1
    report.differences += evidence.differences(alone, killed)
    noted = [witness.visits(folder / f"{run.name}-visits") for run in (alone, killed)]
    report.wrong_visits += [f"step {step}: other samples" for step in noted[0] if noted[0][step] != noted[1].get(step)]


def names(rng: random.Random, count: int) -> list[str]:
    """Shipped recipes in random order, from the beginning again where there are too few."""
    from omnimask.recipe.shipped import shipped_recipes

    known = sorted(name for name in shipped_recipes() if not name.startswith("adapters/"))
    rng.shuffle(known)
    return [known[number % len(known)] for number in range(count)]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=1000, help="of all recipes together")
    parser.add_argument("--recipes", type=int, default=14)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=7200, help="no kill comes later than that")
    parser.add_argument("--output", type=Path, default=RESULT, help="where the result is written as JSON")
    options = parser.parse_args(arguments)
    until = time.monotonic() + options.seconds
    rng = random.Random(options.seed)
    reports: list[Report] = []
    with tempfile.TemporaryDirectory(prefix="omnimask-storm-") as place:
        sys.path.insert(0, str(witness.install(Path(place) / "site")))
        import torch

        torch.set_num_threads(1)
        for number, name in enumerate(names(rng, options.recipes)):
            share = options.kills // options.recipes + (number < options.kills % options.recipes)
            report = storm(Path(place) / f"recipe-{number}", name, share, random.Random(f"{options.seed} {number}"), until)
            reports.append(report)
            print(f"{name}: {report.kills} kills, {report.finished} runs compared, exact: {report.is_exact}", flush=True)
            _write(options, reports)
    is_exact = all(report.is_exact for report in reports)
    for report in reports:
        for found in (*report.differences, *report.unreadable, *report.wrong_visits, *report.orphans, *report.refused):
            print(f"{report.recipe}: {found}")
    print("equal bit for bit" if is_exact else "DIFFERENT")
    return 0 if is_exact else 1


def _write(options: argparse.Namespace, reports: Sequence[Report]) -> None:
    counted = ("kills", "before_the_first_step", "inside_a_checkpoint", "finished", "checkpoints_read")
    found = ("differences", "unreadable", "wrong_visits", "orphans", "refused")
    totals = {name: sum(getattr(report, name) for report in reports) for name in counted}
    totals |= {name: sum(len(getattr(report, name)) for report in reports) for name in found}
    result = {
        "command": f"--kills {options.kills} --recipes {options.recipes} --seed {options.seed}",
        "is_exact": all(report.is_exact for report in reports),
        "totals": totals,
        "recipes": [asdict(report) for report in reports],
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
