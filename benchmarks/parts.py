"""The index of ten million parts: its size on disk, the memory of opening it and of drawing from it, and the time of a drawn place.

    python benchmarks/parts.py [--parts 1000000]

The index is made from random columns by the project's own writer; a fresh process opens it. Memory is what that process grows by:
``resident`` with the pages of mapped files, which the system can drop at any time, and ``own`` without them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from protocol import machine

from omnimask.data.column_files import join_columns, read_columns
from omnimask.data.order import stream_order
from omnimask.data.part_index import PartIndex, numbered
from omnimask.data.planner import Cursor, Planner, StepPlan
from omnimask.data.scans import Columns
from omnimask.data.training_indices import TrainingIndices

RESULT = Path(__file__).parent / "results" / "parts.json"
PER_SAMPLE, LONGEST, TOKENS, HELD_OUT = 4, 4_000, 512, 0.05
"""Parts of a sample on average, characters and tokens of the longest part, share of held-out parts."""
STEP, STEPS = 4_096, 20
"""Parts in a step, and steps to time after the first."""
_RANGE = 1 << 18


def columns(parts: int) -> Iterator[Columns]:
    """Yield the columns of ranges of samples with this many parts, always the same."""
    rng, left = np.random.default_rng(0), parts
    while left:
        sizes = rng.geometric(1 / PER_SAMPLE, _RANGE)
        sizes = np.diff(np.minimum(np.cumsum(sizes), left), prepend=0)
        sizes, total = sizes[sizes > 0], int(sizes.sum())
        place = np.arange(total) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # of a part within its sample
        yield {
            "parts": sizes,
            "start": place * LONGEST,
            "size": rng.integers(1, LONGEST, total),
            "tokens": rng.integers(1, TOKENS + 1, total),
            "digest": rng.integers(0, 2**32, len(sizes), np.uint32),
            "unreadable": np.zeros(0, np.int64),
        }
        left -= total


def memory() -> dict[str, int]:
    """Return the resident bytes of this process, with and without mapped files."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: 1024 * int(lines[key].split()[0]) for name, key in (("resident", "VmRSS"), ("own", "RssAnon"))}


def opened(folder: Path) -> dict[str, Any]:
    """Open the index in this process and draw from it. Return memory and times."""
    before, begin = memory(), time.perf_counter()
    found = read_columns(folder, "parts")
    assert found is not None
    index = PartIndex(**found)
    seconds, after_opening = time.perf_counter() - begin, memory()
    held_out = np.flatnonzero(np.random.default_rng(1).random(len(index)) < HELD_OUT)
    order = stream_order(object(), TrainingIndices(len(index), held_out), seed=0)
    del held_out
    before_drawing = memory()
    planner = Planner(order, index.tokens, STEP * TOKENS // 2, STEP * TOKENS // 2, STEPS + 1)
    plan = planner.step(0, Cursor())
    located(index, plan)
    after_drawing = memory()
    planned = drawn = places = 0.0
    for step in range(1, STEPS + 1):
        spent, plan = timed(lambda step=step, plan=plan: planner.step(step, plan.after))
        planned += spent
        drawn += timed(lambda plan=plan: located(index, plan))[0]
        places += len(plan)
    return {
        "parts": len(index),
        "samples": index.num_samples,
        "seconds_to_open": seconds,
        "memory_to_open": grown(before, after_opening),
        "memory_to_draw": grown(before_drawing, after_drawing),
        "microseconds_to_plan": 1e6 * planned / places,
        "microseconds_to_locate": 1e6 * drawn / places,
    }


def located(index: PartIndex, plan: StepPlan) -> list[tuple[int, int]]:
    """Return the bounds of every part of a step, as reading it needs them."""
    return [index.bounds(part, index.sample(part)) for part in plan.indices.tolist()]


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds of a call, and its result."""
    begin = time.process_time()
    result = call()
    return time.process_time() - begin, result


def grown(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {name: after[name] - before[name] for name in before}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--parts", type=int, default=10_000_000)
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        print(json.dumps(opened(options.open)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "index"
        join_columns(lambda: numbered(columns(options.parts)), folder, "parts")
        size = sum(file.stat().st_size for file in folder.iterdir())
        command = [sys.executable, __file__, "--open", str(folder)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    result = {"bytes_on_disk": size, **found, "machine": machine()}
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    each = size / found["parts"]
    print(f"{found['parts']:,} parts of {found['samples']:,} samples: {size / 2**20:.1f} MiB on disk, {each:.1f} bytes a part")
    for name, what in (("open", "opening the index"), ("draw", f"drawing a step of about {STEP:,}")):
        added = found[f"memory_to_{name}"]
        print(f"memory added by {what:32} {added['resident'] / 2**20:9.1f} MiB resident, {added['own'] / 2**20:6.1f} MiB own")
    print(f"opened in {found['seconds_to_open']:.2f} s; a place is planned in {found['microseconds_to_plan']:.2f} us "
          f"and located in {found['microseconds_to_locate']:.2f} us")  # fmt: skip
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
