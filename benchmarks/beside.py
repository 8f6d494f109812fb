"""A training step of this checkout against that of another commit, for recipes that use nothing new.

    python benchmarks/beside.py --beside COMMIT [--rounds 7]

One process for each checkout with this checkout's benchmark code and its own sources of the project, one thread each. They take
turns: one waits while the other works. Otherwise as in ``protocol.py``: CPU time, a round of warm-up and at least seven counted
ones, the median of the ratios with its quartiles; above 1 this checkout is faster. Every other round the second one begins.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from protocol import ROUNDS, Comparison, Row, timed

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("core", "plugins", "datasets")
REPEATS = {"image/mae": 2, "text/bert": 3}
"""Steps of one call."""


def image() -> Callable[[], None]:
    import mae

    images = np.random.default_rng(0).integers(0, 256, (8, mae.SIZE, mae.SIZE, 3), dtype=np.uint8)
    decoder = [f"predictors.0.{key}={value}" for key, value in (("width", 256), ("depth", 2), ("heads", 8))]
    model, batch = mae.ours("image/mae", images, [*decoder, "encoder.depth=4"])
    return mae.step(model, lambda: model(batch).loss)


def text() -> Callable[[], None]:
    import texts

    built, samples = texts.ours("text/bert", 0.15, texts.lengths(), ["encoder.dropout=0"])
    batch = built.pipeline.pack(samples)
    return texts.step(built.model, lambda: built.model(batch).loss)


STEPS: dict[str, Callable[[], Callable[[], None]]] = {"image/mae": image, "text/bert": text}


def serve(name: str) -> None:
    """Print the CPU seconds of some steps for every line of the input, in the process of one checkout."""
    import omnimask

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    step = STEPS[name]()
    print(omnimask.__file__, flush=True)
    for _ in sys.stdin:
        seconds = timed(lambda: [step() for _ in range(REPEATS[name])])
        print(seconds, flush=True)


@contextmanager
def server(name: str, checkout: Path) -> Iterator[Callable[[], float]]:
    """Yield a function that has one checkout take steps and returns their CPU seconds."""
    sources = os.pathsep.join(str(checkout / part) for part in SOURCES)
    environment = {**os.environ, "PYTHONPATH": sources, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), "--serve", name]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, cwd=ROOT, **pipes) as process:
        assert process.stdin is not None and process.stdout is not None
        found = process.stdout.readline().strip()
        if not found.startswith(str(checkout)):
            raise RuntimeError(f"{checkout}: omnimask was imported from {found!r}")

        def call() -> float:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        yield call
        process.stdin.close()


@contextmanager
def checkout(place: str) -> Iterator[Path]:
    """Yield the folder of a checkout: an existing one, or a temporary worktree of a commit."""
    if Path(place).is_dir():
        yield Path(place).resolve()
        return
    git = ["git", "-C", str(ROOT), "worktree"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve() / "checkout"
        subprocess.run([*git, "add", "--quiet", "--detach", str(folder), place], check=True)
        try:
            yield folder
        finally:
            subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def compared(name: str, place: str, rounds: int) -> Comparison:
    """Return the table of one recipe."""
    if rounds < ROUNDS:
        raise ValueError(f"the protocol asks for at least {ROUNDS} rounds, got {rounds}")
    seconds = np.zeros((rounds + 1, 2))
    with checkout(place) as other, server(name, other) as theirs, server(name, ROOT) as ours:
        calls = (theirs, ours)
        for number, row in enumerate(seconds):
            for column in (0, 1) if number % 2 else (1, 0):
                row[column] = calls[column]()
    seconds = seconds[1:] / REPEATS[name]
    rows: list[Row] = []
    for column, title in enumerate((place[:12], "this checkout")):
        low, middle, high = np.percentile(seconds[:, 0] / seconds[:, column], [25, 50, 75])
        rows.append(Row(title, float(np.median(seconds[:, column])), float(middle), (float(low), float(high)), None))
    return Comparison(f"{name}: a training step beside {place}", {"steps of a call": REPEATS[name]}, rows[0].name, rows, rounds)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help=f"of {', '.join(STEPS)}; default: all")
    parser.add_argument("--beside", metavar="COMMIT", help="a commit, or the folder of another checkout")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        return serve(arguments.serve)
    if arguments.beside is None:
        parser.error("--beside is required")
    for name in arguments.recipes or STEPS:
        found = compared(name, arguments.beside, arguments.rounds)
        print(found, flush=True)
    return None


if __name__ == "__main__":
    main()
