#!/usr/bin/env python3
"""Trains shipped recipes in this checkout and in another one, and compares every metric and the last weights bit for bit.

    python scripts/same_weights.py --beside COMMIT [text/bert image/mae ...]

Every recipe is shrunk as by ``--smoke``, with one thread, for 50 steps. ``--beside`` is a folder with another checkout, or a
commit, of which a temporary worktree is made. Both sides run with this interpreter, each with its own sources (``PYTHONPATH``) and
its own cache. Times are not compared, and keys of ``metrics.jsonl`` that only one side has are named. Exit code 1: something
differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load

from omnimask.recipe import shipped_recipes
from omnimask.training.checkpoints.old_names import present_name

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("core", "plugins", "datasets")
TIMES = ("seconds", "total_seconds", "tokens_per_second", "memory")
"""Metrics that depend on the machine; keys that begin with one of them, and a dot, as well."""
TIMEOUT = 1800.0
"""Seconds after which a run is given up."""


@dataclass(frozen=True)
class Trained:
    """Result of one run: its lines of ``metrics.jsonl``, its last weights, and its last message."""

    metrics: Sequence[Mapping[str, Any]]
    weights: bytes
    message: str

    @property
    def digest(self) -> str:
        return sha256(self.weights).hexdigest()[:12] if self.weights else "-"


def train(recipe: str, checkout: Path, cache: Path, steps: int) -> Trained:
    """Train a recipe with the sources of a checkout."""
    folders = [str(checkout / name) for name in SOURCES]
    sources = {"PYTHONPATH": os.pathsep.join(folders), "PYTHONSAFEPATH": "1"}
    environment = {**os.environ, **sources, "OMNIMASK_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    changes = [f"train.steps={steps}", "train.log_every=1", "train.validate_every=25", f"train.checkpoint_every={steps}"]
    with tempfile.TemporaryDirectory() as temporary:
        run = Path(temporary) / "run"
        command = [sys.executable, "-m", "omnimask", "pretrain", recipe, "--smoke", *changes, "--run", str(run)]
        try:
            ended = subprocess.run(command, env=environment, cwd=temporary, capture_output=True, text=True, timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            return Trained([], b"", f"not finished after {TIMEOUT:.0f} seconds")
        if ended.returncode:
            return Trained([], b"", (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1])
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        weights = sorted(run.glob("checkpoints/step-*/model.safetensors"))[-1].read_bytes()
        return Trained([json.loads(line) for line in lines], weights, "")


def compared(here: Trained, there: Trained) -> tuple[bool, str]:
    """Return whether two runs are equal, and a description of the differences."""
    if here.message or there.message:
        return False, f"here: {here.message or 'trained'}; there: {there.message or 'trained'}"
    found = [*_metric_differences(here.metrics, there.metrics), *_weight_differences(here.weights, there.weights)]
    keys = [{key for line in side.metrics for key in line} for side in (here, there)]
    only = {"here": keys[0] - keys[1], "there": keys[1] - keys[0]}
    notes = [f"only {side}: {', '.join(sorted(more))}" for side, more in only.items() if more]
    return not found, "; ".join([*(found or ["equal"]), *notes])


def _metric_differences(here: Sequence[Mapping[str, Any]], there: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if len(here) != len(there):
        yield f"{len(here)} lines of metrics, and {len(there)}"
    for one, other in zip(here, there, strict=False):
        shared = [key for key in one if key in other and key.split(".")[0] not in TIMES]
        if differing := [key for key in shared if repr(one[key]) != repr(other[key])]:
            first = differing[0]
            yield f"step {one.get('step')}: {', '.join(differing)} differ, {first} {one[first]!r} and {other[first]!r}"
            return


def _weight_differences(here: bytes, there: bytes) -> Iterator[str]:
    """Describe the tensors that differ."""
    if here == there:
        return
    one, other = ({present_name(name): tensor for name, tensor in load(file).items()} for file in (here, there))
    if lone := sorted(map(str, one.keys() ^ other.keys())):
        yield f"{len(lone)} tensors only on one side: {', '.join(lone[:3])}"
    differing = [name for name in one.keys() & other.keys() if one[name].tobytes() != other[name].tobytes()]
    if differing:
        same = [(one[name], other[name]) for name in differing if one[name].shape == other[name].shape]
        largest = max((float(np.abs(a.astype(float) - b.astype(float)).max()) for a, b in same), default=float("nan"))
        yield f"{len(differing)} of {len(one)} tensors differ, by up to {largest:.3g}"


@contextmanager
def checkout_of(place: str) -> Iterator[Path]:
    """Yield the folder of a checkout: an existing one, or a temporary worktree of a commit."""
    if Path(place).is_dir():
        yield Path(place).resolve()
        return
    git = ["git", "-C", str(ROOT), "worktree"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "checkout"
        subprocess.run([*git, "add", "--quiet", "--detach", str(folder), place], check=True)
        try:
            yield folder
        finally:
            subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("recipes", nargs="*", help="shipped recipes; default: all")
    parser.add_argument("--beside", required=True, help="folder of another checkout, or a commit")
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    known = shipped_recipes()
    if unknown := set(options.recipes) - set(known):
        parser.error(f"no shipped recipe is called {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    num_different = 0
    with checkout_of(options.beside) as other, tempfile.TemporaryDirectory() as caches:
        print(f"{'recipe':24} {'here':12} {'there':12} result", flush=True)
        for recipe in options.recipes or known:
            here = train(recipe, ROOT, Path(caches, "here"), options.steps)
            there = train(recipe, other, Path(caches, "there"), options.steps)
            is_equal, text = compared(here, there)
            num_different += not is_equal
            print(f"{recipe:24} {here.digest:12} {there.digest:12} {text}", flush=True)
    print(f"{num_different} of {len(options.recipes or known)} recipes differ")
    return int(num_different > 0)


if __name__ == "__main__":
    raise SystemExit(main())
