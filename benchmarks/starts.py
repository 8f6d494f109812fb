"""Time to the first step of the shipped quick starts, in fresh processes; beside another checkout of this project if asked for.

    python benchmarks/starts.py [--beside ../other-checkout]

Whole commands, in turn, on all cores that this process may use; nothing else may run meanwhile. Every checkout has a cache of its
own, which a first run fills that is not counted. The other checkout runs with the same interpreter and its own sources
(`PYTHONPATH`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from corpus import has_step
from process_tree import Used, used_by
from protocol import machine

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).parent / "results" / "starts.json"
RECIPES = ("text/quickstart", "image/quickstart")
SOURCES = ("core", "plugins", "datasets")


def paths_of(checkout: Path) -> str:
    """Return the ``PYTHONPATH`` of a checkout.

    Raises:
        SystemExit: it is not a checkout of this project.
    """
    folders = [checkout.resolve() / name for name in SOURCES]
    if not all(folder.is_dir() for folder in folders):
        raise SystemExit(f"{checkout} is no checkout of this project: it lacks {', '.join(map(str, SOURCES))}")
    return os.pathsep.join(map(str, folders))


def start(recipe: str, checkout: Path, folder: Path) -> Used:
    """Start a recipe in a fresh process, and stop it after its first step."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        run = Path(temporary) / "run"
        command = [sys.executable, "-m", "omnimask", "pretrain", recipe, "train.log_every=1", "--run", run]
        environment = {"PYTHONPATH": paths_of(checkout), "OMNIMASK_CACHE": str(folder / "cache"), "PYTHONSAFEPATH": "1"}
        return used_by(command, Path(temporary) / "log", environment, lambda: has_step(run / "metrics.jsonl"), folder)


def measure(checkouts: Mapping[str, Path], rounds: int) -> dict[str, dict[str, list[Used]]]:
    """Return what every counted start used, by recipe and checkout."""
    found: dict[str, dict[str, list[Used]]] = {recipe: {name: [] for name in checkouts} for recipe in RECIPES}
    with tempfile.TemporaryDirectory() as temporary:
        for name in checkouts:
            (Path(temporary) / name).mkdir()
        for recipe in RECIPES:
            for number in range(rounds + 1):
                for name, checkout in checkouts.items():
                    used = start(recipe, checkout, Path(temporary) / name)
                    if number:
                        found[recipe][name].append(used)
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--beside", type=Path, help="another checkout")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    checkouts = {"this": ROOT, **({"other": options.beside} if options.beside else {})}
    found = measure(checkouts, options.rounds)
    rows = {recipe: {name: [asdict(used) for used in starts] for name, starts in sides.items()} for recipe, sides in found.items()}
    cores = len(os.sched_getaffinity(0))
    result = {"rounds": options.rounds, "cores": cores, "rows": rows, "machine": machine()}
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"{'time to the first step, median':36} {'wall s':>7} {'lowest':>7} {'highest':>7} {'CPU s':>7}")
    for recipe, sides in found.items():
        for name, starts in sides.items():
            wall = [used.wall for used in starts]
            cpu = statistics.median(used.cpu for used in starts)
            print(f"{f'{recipe}, {name} checkout':36} {statistics.median(wall):7.2f} {min(wall):7.2f} {max(wall):7.2f} {cpu:7.2f}")
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
