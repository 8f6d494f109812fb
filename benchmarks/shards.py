"""Reading raw samples from shards: one after the other with ``webdataset``, and by index in windows or at random.

Warm: all files are in the page cache, and CPU time counts. Cold: the page cache is told to forget them before every round, and
wall time counts. ``python benchmarks/shards.py [--out FOLDER] [--work FOLDER]``
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import webdataset
from protocol import Comparison, Variant, compare, machine

from omnimask.data.order import WindowOrder
from omnimask.interfaces import Context
from omnimask_datasets.shards.dataset import Shards
from omnimask_datasets.shards.index import with_content
from omnimask_datasets.shards.local import beside, index_of, write_index
from omnimask_datasets.shards.write import Limits, write_shards

NUM_SAMPLES, PER_SHARD, WINDOW = 5_000, 500, 2_000
PICTURE = 33_000
"""Bytes of a JPEG of 224 x 224 pixels, about."""
NUM_SMALL = 200_000
CHECKED = 20_000
"""Samples between two looks at the memory."""
COLD_ROUNDS = 5

Members = Callable[[np.random.Generator], Mapping[str, bytes]]
KINDS: Mapping[str, Members] = {
    "captioned pictures": lambda random: {
        "jpg": random.bytes(PICTURE),
        "txt": b"a photograph of a bird" * 5,
        "json": b'{"width": 224}',
    },
    "labelled pictures": lambda random: {"jpg": random.bytes(PICTURE), "cls": b"7"},
    "texts": lambda random: {"txt": random.bytes(2_000)},
}


class Small:
    """Many small samples, as a source of shards."""

    about: Mapping[str, Any] = {}

    def __len__(self) -> int:
        return NUM_SMALL

    def key(self, index: int) -> str:
        return f"{index:07d}"

    def members(self, index: int) -> Mapping[str, bytes]:
        return {"txt": b"x" * (400 + index % 600)}

    def fingerprint(self) -> str:
        return "small"


def write(folder: Path, members: Members) -> None:
    """Shards as webdataset's own writer makes them, with its defaults."""
    folder.mkdir()
    random = np.random.default_rng(0)
    with (
        contextlib.redirect_stdout(io.StringIO()),
        webdataset.ShardWriter(str(folder / "s-%06d.tar"), maxcount=PER_SHARD, encoder=False) as writer,
    ):
        for number in range(NUM_SAMPLES):
            writer.write({"__key__": f"{number:06d}", **members(random)})


def sequential(paths: Sequence[str]) -> None:
    """All samples, as bytes, one shard after the other."""
    count = sum(1 for _ in webdataset.WebDataset(list(paths), shardshuffle=False))
    assert count == NUM_SAMPLES


def indexed(dataset: Shards, order: Sequence[int]) -> None:
    """All samples in an order."""
    for index in order:
        dataset[index]


def warm(kind: str, folder: Path) -> Comparison:
    """CPU time of one pass over all samples of a kind."""
    paths = [str(path) for path in sorted(folder.glob("*.tar"))]
    plain = Shards(Context(), path=folder)
    windows = WindowOrder(np.arange(len(plain)), plain.group_starts, 0, WINDOW).take(0, 0, len(plain)).tolist()
    anywhere = np.random.default_rng(0).permutation(len(plain)).tolist()
    for path in map(Path, paths):
        write_index(beside(path), with_content(index_of(path, path.name), path))
    checked = Shards(Context(), path=folder)
    variants = [
        Variant("webdataset, sequential", lambda: sequential(paths)),
        Variant("by index, in windows", lambda: indexed(plain, windows)),
        Variant("by index, at random", lambda: indexed(plain, anywhere)),
        Variant("by index, in windows, checksums compared", lambda: indexed(checked, windows)),
    ]
    size = sum(Path(path).stat().st_size for path in paths)
    inputs = {"samples": NUM_SAMPLES, "shards": len(paths), "window": WINDOW, "bytes": size}
    return compare(f"Raw samples from a warm page cache: {kind}", variants, inputs=inputs, baseline="webdataset, sequential")


def forget(paths: Sequence[str]) -> None:
    """Asks the system to drop files from its page cache."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def cold(folder: Path) -> dict[str, float]:
    """Samples per second of wall time, the median over rounds, when nothing is in the page cache."""
    paths = [str(path) for path in sorted(folder.glob("*.tar"))]
    dataset = Shards(Context(), path=folder, check=False)
    windows = WindowOrder(np.arange(len(dataset)), dataset.group_starts, 0, WINDOW).take(0, 0, len(dataset)).tolist()
    anywhere = np.random.default_rng(0).permutation(len(dataset)).tolist()
    passes: Mapping[str, Callable[[], None]] = {
        "webdataset, sequential": lambda: sequential(paths),
        "by index, in windows": lambda: indexed(dataset, windows),
        "by index, at random": lambda: indexed(dataset, anywhere),
    }
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(COLD_ROUNDS):
        for name, call in passes.items():
            forget(paths)
            begin = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - begin)
    return {name: NUM_SAMPLES / float(np.median(found)) for name, found in seconds.items()}


def memory(folder: Path) -> dict[str, Any]:
    """Resident bytes of this process while all of many small samples are read in windows."""
    write_shards(Small(), folder, Limits(10**9, 10_000, 0))
    dataset = Shards(Context(), path=folder)
    order = WindowOrder(np.arange(len(dataset)), dataset.group_starts, 0, 65_536)
    seen: list[int] = []
    for start in range(0, len(dataset), CHECKED):
        indexed(dataset, order.take(0, start, start + CHECKED).tolist())
        seen.append(resident())
    arrays = [value for index in dataset.files.indexes for value in vars(index).values() if isinstance(value, np.ndarray)]
    index = sum(array.nbytes for array in arrays)
    return {"samples": len(dataset), "index": index, "first": seen[0], "last": seen[-1], "most": max(seen)}


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Prints and writes all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the result file")
    parser.add_argument("--work", type=Path, help="folder in which shards are written, 1 GB, and removed again")
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(dir=arguments.work))
    try:
        found: dict[str, Any] = {"machine": {**machine(), "webdataset": version("webdataset")}, "warm": {}}
        for name, members in KINDS.items():
            folder = work / name.replace(" ", "-")
            write(folder, members)
            comparison = warm(name, folder)
            print(comparison, flush=True)
            found["warm"][name] = asdict(comparison)
        found["cold"] = {"kind": "captioned pictures", "samples per second": cold(work / "captioned-pictures")}
        found["memory"] = memory(work / "small")
        print(json.dumps({key: found[key] for key in ("cold", "memory")}, indent=2))
    finally:
        shutil.rmtree(work)
    (arguments.out / "shards.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
