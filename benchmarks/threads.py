"""What waiting threads cost: the text quick start alone and beside one busy process, with threads that spin and that soon sleep.

    python benchmarks/threads.py

Whole commands, in turn, on all cores that this process may use; nothing else may run meanwhile. Tokens per second are those of the
steps after the first five.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from protocol import machine

RESULT = Path(__file__).parent / "results" / "threads.json"
WAITING: Mapping[str, Mapping[str, str]] = {
    "spinning": {"GOMP_SPINCOUNT": "300000"},  # the library's own default
    "spinning briefly": {},  # the command's default
}
SKIPPED, STEPS = 5, 14


@contextmanager
def busy() -> Iterator[None]:
    """Inside the ``with`` block another process uses one core."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def tokens_per_second(variables: Mapping[str, str]) -> float:
    """Of one run of the quick start."""
    cleared = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_", "MKL_"))}
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        changes = (f"train.steps={STEPS}", "train.log_every=1", "train.schedule={name: constant}", "train.validate_every=1000")
        command = [Path(sys.executable).with_name("omnimask"), "pretrain", "text", *changes, "data.validation=0", "--run", run]
        subprocess.run(command, env={**cleared, **variables}, check=True, capture_output=True)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    counted = [line for line in lines if "loss" in line and line["step"] > SKIPPED]
    return sum(line["tokens"] for line in counted) / sum(line["seconds"] for line in counted)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    found: dict[str, list[float]] = {
        f"{waiting}, {place}": [] for place in ("alone", "beside one busy process") for waiting in WAITING
    }
    for _ in range(options.rounds):
        for waiting, variables in WAITING.items():
            found[f"{waiting}, alone"].append(tokens_per_second(variables))
            with busy():
                found[f"{waiting}, beside one busy process"].append(tokens_per_second(variables))
    rows = [
        {"name": name, "tokens_per_second": statistics.median(rates), "lowest": min(rates), "highest": max(rates)}
        for name, rates in found.items()
    ]
    result = {"rounds": options.rounds, "cores": len(os.sched_getaffinity(0)), "rows": rows, "machine": machine()}
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for row in rows:
        print(f"{row['name']:40} {row['tokens_per_second']:8,.0f} ({row['lowest']:,.0f} to {row['highest']:,.0f})")


if __name__ == "__main__":
    main()
