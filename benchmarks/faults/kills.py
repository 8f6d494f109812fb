"""Kills training runs with SIGKILL at random moments, resumes them each time, and compares each with one that nobody killed.

    python benchmarks/faults/kills.py --kills 50 --workers 0 2 --devices 1 2

There is one run for each number of devices; the kills are shared out among them. A kill comes at a step drawn from the seed (a
random fraction of a second after that step was logged, or as soon as the next checkpoint is being written), or at a random moment
after the command was given. It hits all processes, or the main one alone, or one rank of several. Every process is a new one, with
the numbers of loader workers in turn, and every command is the same: ``omnimask pretrain ... --continue``.

After every kill all checkpoints are read and compared with their digests. At the end the losses of all steps (bit for bit), the
last checkpoint's weights, and the samples of every step must be those of the run that was left alone, and every sample of an epoch
must have been trained on once. Exit code 0 if all of this is so.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import campaign
from campaign import Outcome

RESULT = Path(__file__).parents[1] / "results" / "kill_and_resume.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="of all runs together")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="loader processes, in turn")
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2], help="one run for each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="changes to the recipe")
    parser.add_argument("--output", type=Path, default=RESULT, help="where the result is written as JSON")
    options = parser.parse_args(arguments)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="omnimask-kills-") as folder:
        for number, devices in enumerate(options.devices):
            share = options.kills // len(options.devices) + (number < options.kills % len(options.devices))
            place = Path(folder) / f"devices-{devices}"
            outcomes.append(campaign.run(place, devices, options.workers, share, options.seed + number, options.set))
    command = ["--kills", options.kills, "--workers", *options.workers, "--devices", *options.devices, "--seed", options.seed]
    command += ["--set", *options.set] if options.set else []
    is_exact = all(outcome.is_exact for outcome in outcomes)
    totals = campaign.totals(outcomes)
    result = {
        "command": " ".join(map(str, command)),
        "is_exact": is_exact,
        "totals": totals,
        "runs": [asdict(outcome) for outcome in outcomes],
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(", ".join(f"{name}: {number}" for name, number in totals.items()))
    for outcome in outcomes:
        for found in (*outcome.differences, *outcome.unreadable, *outcome.wrong_visits, *outcome.orphans):
            print(f"devices {outcome.devices}: {found}")
    print("equal bit for bit" if is_exact else "DIFFERENT")
    return 0 if is_exact else 1


if __name__ == "__main__":
    sys.exit(main())
