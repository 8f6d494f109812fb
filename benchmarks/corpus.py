"""The start of a run on a corpus of a million short texts, beside `datasets` and `transformers` that prepare the same texts.

    python benchmarks/corpus.py [--texts 20000]

Whole commands, one after another, on all cores that this process may use; nothing else may run meanwhile. Ours is measured from the
command to the end of the first step, with a small model and a small step so that the data decide. The peer loads the JSON lines,
tokenizes them with the fast tokenizer of the same vocabulary in two processes, and concatenates them into blocks of 128 tokens
(`group_texts` of its examples); it does not train. The last command is killed while it tokenizes, and started again.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from process_tree import Used, used_by
from protocol import machine

RESULT = Path(__file__).parent / "results" / "corpus.json"
LENGTH, PROCESSES = 128, 2
MEAN, SPREAD, MOST = 30, 0.8, 2_000
"""Words of a text: mean, spread of the logarithm, and maximum."""
CHANGES = (
    f"modalities.text.tokenizer={{name: text.english, max_length: {LENGTH}}}",
    "encoder.width=64", "encoder.depth=1", "encoder.heads=2", "train.batch_tokens=2048", "train.workers=0", "train.log_every=1",
)  # fmt: skip


@dataclass(frozen=True)
class Killed:
    """A run that was killed while it tokenized: finished ranges before and in total, the second start, and whether all is equal."""

    kept_ranges: int
    ranges: int
    again: Used
    is_equal: bool


def words() -> list[str]:
    """Return the words of the texts in ``$OMNIMASK_DATA/text``, or of the embedded texts."""
    folder = os.environ.get("OMNIMASK_DATA")
    if folder and (
        read := [word for path in sorted(Path(folder, "text").iterdir()) for text in texts_of(path) for word in text.split()]
    ):
        return read
    from omnimask.interfaces import Context
    from omnimask_datasets.english import English

    return [word for text in English(Context()).texts for word in text.split()]


def texts_of(path: Path) -> Iterator[str]:
    """Yield the texts of a file, if it is a text, a compressed one or an archive of them."""
    if path.name.endswith(".txt.gz"):
        yield gzip.decompress(path.read_bytes()).decode("utf-8", "replace")
    elif path.suffix == ".txt":
        yield path.read_text("utf-8", "replace")
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name).decode("utf-8", "replace") for name in archive.namelist() if name.endswith(".txt"))


def write_texts(path: Path, count: int) -> int:
    """Write texts with lognormal lengths as JSON lines, always the same. Return their bytes."""
    rng, pool = np.random.default_rng(0), words()
    lengths = np.clip(np.rint(rng.lognormal(np.log(MEAN) - SPREAD**2 / 2, SPREAD, count)), 1, MOST).astype(int)
    starts = rng.integers(0, max(1, len(pool) - MOST), count)
    with path.open("w", encoding="utf-8") as stream:
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            stream.write(json.dumps({"text": " ".join(pool[start : start + length])}) + "\n")
    return path.stat().st_size


class Ours:
    """Runs on the texts, with a cache each."""

    def __init__(self, folder: Path, texts: Path) -> None:
        self.folder, self.texts = folder, texts

    def start(self, cache: str, run: str, until: Callable[[], bool] | None = None) -> Used:
        """Start a run, and stop it after its first step or when ``until`` is true."""
        metrics = self.folder / run / "metrics.jsonl"
        data = f"data={{name: jsonl, path: {self.texts}}}"
        command = [Path(sys.executable).with_name("omnimask"), "pretrain", "text/bert", data, *CHANGES, "--run", self.folder / run]
        environment = {"OMNIMASK_CACHE": str(self.folder / cache)}
        return used_by(command, self.folder / f"{run}.log", environment, until or (lambda: has_step(metrics)))

    def ranges(self, cache: str) -> int:
        """Return the number of ranges that are tokenized."""
        return len(list((self.folder / cache).glob("tokens/*/ranges-*/*.npz")))

    def digest(self, cache: str) -> str:
        """Return a digest of all tokens and of their index."""
        digest = blake2b(digest_size=16)
        for file in sorted(file for file in (self.folder / cache / "tokens").rglob("*") if file.suffix in (".arrow", ".npy")):
            digest.update(file.name.encode())
            with file.open("rb") as stream:
                while block := stream.read(1 << 24):
                    digest.update(block)
        return digest.hexdigest()

    def loss(self, run: str) -> float:
        """Return the loss of a run's first step."""
        return next(steps(self.folder / run / "metrics.jsonl"))["loss"]

    def total(self, run: str) -> int:
        """Return the number of ranges of a finished scan, as its log names it."""
        found = re.findall(r"tokenizing: \d+ of (\d+) ranges", (self.folder / f"{run}.log").read_text())
        return int(found[-1]) if found else 1


def steps(metrics: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the complete lines of training steps."""
    lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True) if metrics.exists() else []
    rows = (json.loads(line) for line in lines if line.endswith("\n"))
    return (row for row in rows if "loss" in row)


def has_step(metrics: Path) -> bool:
    return next(steps(metrics), None) is not None


def killed(ours: Ours, whole: int) -> Killed:
    """Kill a run when about half of its texts are tokenized, and start it again. ``whole``: ranges of all texts."""
    ours.start("interrupted", "killed", lambda: ours.ranges("interrupted") >= max(1, whole // 2))
    kept = ours.ranges("interrupted")
    again = ours.start("interrupted", "again")
    is_equal = ours.digest("interrupted") == ours.digest("cache") and ours.loss("again") == ours.loss("cold")
    return Killed(kept, ours.total("again"), again, is_equal)


def peer(texts: Path, folder: Path) -> None:
    """Prepare the texts as the examples of `transformers` do."""
    from transformers import PreTrainedTokenizerFast

    import datasets
    from omnimask_text.tokenize.english import FOLDER

    special = {f"{name}_token": f"[{name.upper()}]" for name in ("mask", "pad", "cls", "sep", "unk")}
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(FOLDER / "tokenizer.json"), **special)

    def tokenize(rows: Mapping[str, list[str]]) -> Any:
        return tokenizer(rows["text"], return_special_tokens_mask=True)

    def group_texts(rows: Mapping[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        joined = {name: [value for row in values for value in row] for name, values in rows.items()}
        total = len(next(iter(joined.values()))) // LENGTH * LENGTH
        return {name: [values[at : at + LENGTH] for at in range(0, total, LENGTH)] for name, values in joined.items()}

    rows: Any = datasets.load_dataset("json", data_files=str(texts), split="train", cache_dir=str(folder))
    rows = rows.map(tokenize, batched=True, num_proc=PROCESSES, remove_columns=["text"])
    rows = rows.map(group_texts, batched=True, num_proc=PROCESSES)
    print(f"{len(rows)} blocks; the first begins with {rows[0]['input_ids'][:4]}")


def measure(folder: Path, count: int) -> dict[str, Any]:
    """Return the result."""
    texts, cores = folder / "texts.jsonl", len(os.sched_getaffinity(0))
    size = write_texts(texts, count)
    ours = Ours(folder, texts)
    found: dict[str, Used] = {"omnimask, without a cache": ours.start("cache", "cold")}
    found["omnimask, with its cache"] = ours.start("cache", "warm")
    stop = killed(ours, len(list((folder / "cache" / "tokens").rglob("*.arrow"))))
    found["omnimask, killed halfway and started again"] = stop.again
    command = [sys.executable, __file__, "--peer", texts, folder / "peer"]
    environment = {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(folder / "home"),
        "TOKENIZERS_PARALLELISM": "false",
    }
    for name in ("without a cache", "with its cache"):
        found[f"datasets and transformers, {name}"] = used_by(command, folder / "peer.log", environment)
    return {
        "inputs": {"texts": count, "bytes": size, "words": f"lognormal, {MEAN} on average", "cores": cores, "tokens": LENGTH},
        "rows": {name: asdict(used) for name, used in found.items()},
        "killed": {"kept_ranges": stop.kept_ranges, "ranges": stop.ranges, "is_equal": stop.is_equal},
        "machine": machine(),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--texts", type=int, default=1_000_000)
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--peer", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        peer(*options.peer)
        return
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), options.texts)
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"{options.texts:,} texts {'wall s':>43} {'CPU s':>9} {'peak MiB':>9}")
    for name, used in result["rows"].items():
        print(f"{name:46} {used['wall']:12.1f} {used['cpu']:9.1f} {used['peak'] / 2**20:9.0f}")
    stop = result["killed"]
    print(f"killed: {stop['kept_ranges']} of {stop['ranges']} ranges were kept; result equal: {stop['is_equal']}")
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
