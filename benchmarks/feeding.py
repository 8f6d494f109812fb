"""What loading a sample costs by stage, and the number of cores that feed a device. ``python benchmarks/run.py feeding``

One loader worker in this process, by the protocol: CPU time, one thread, the kinds of samples in turn, nine rounds after a warm-up.
A device takes 540,000 tokens of text a second (150 million parameters) or 7,800 images of 224 x 224 (MAE with ViT-B). The bytes
of a token are those of the parcel that crosses from a worker to the main process.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from image_loading import BY_TORCH, CELLS, TORCHVISION, own, write_images
from protocol import machine

from omnimask.builder.build import Built, build
from omnimask.data import whole_views
from omnimask.data.pipeline import Pipeline
from omnimask.data.planner import Cursor
from omnimask.recipe import load_recipe
from omnimask.transport.parcel import parcel

ROUNDS, BATCHES, TOKENS = 9, 2, 16_384
TEXT_TOKENS, IMAGES = 540_000, 7_800
"""Tokens of text, and images, that a device takes in a second."""
STAGES = ("read", "tokenize", "mask", "corrupt", "pack", "transport")
_OWNERS: Mapping[str, tuple[Any, str]] = {
    "_held_columns": (Pipeline, "read"),
    "_read": (Pipeline, "read"),
    "_tokenized": (Pipeline, "tokenize"),
    "masked_samples": (whole_views, "mask"),
    "_view": (whole_views, "corrupt"),
}
"""Functions that are timed, by name: their owner and their stage."""


@dataclass(frozen=True)
class Kind:
    """Cost of one kind of samples: ``stages`` in microseconds a sample, with the quartiles of the sum, and bytes and cores."""

    name: str
    tokens_per_sample: float
    stages: Mapping[str, float]
    microseconds: float
    quartiles: tuple[float, float]
    bytes_per_token: float
    device: str
    cores: float


@dataclass(frozen=True)
class Feeding:
    """Table of the kinds, with the bytes a token of further recipes."""

    title: str
    inputs: Mapping[str, str]
    rows: Sequence[Kind]
    bytes_per_token: Mapping[str, float]
    rounds: int = ROUNDS
    machine: Mapping[str, str] = field(default_factory=machine)

    def __str__(self) -> str:
        return "\n".join([self.title, *(f"  {key}: {value}" for key, value in self.inputs.items()), *self.table()])

    def table(self) -> Sequence[str]:
        """Return the rows of the page's tables."""
        return [
            *(
                f"| {row.name} | {' | '.join(f'{row.stages[stage]:,.1f}' for stage in STAGES)} | {row.microseconds:,.1f} | "
                f"{row.quartiles[0]:,.1f}-{row.quartiles[1]:,.1f} | {row.cores:.1f} |"
                for row in self.rows
            ),
            *(f"| `{name}` | {count:,.0f} |" for name, count in self.bytes_per_token.items()),
        ]

    def write(self, folder: Path, name: str) -> Path:
        """Write the table as JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.json"
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        return path


class Worker:
    """Loads some micro-batches of a recipe, in this process."""

    def __init__(self, built: Built) -> None:
        self.pipeline = built.pipeline
        planner, cursor = built.planner(), Cursor()
        self.places: list[Any] = []
        for step in range(BATCHES):
            plan = planner.step(step, cursor)
            self.places += plan.micro_batches
            cursor = plan.after
        batches = [self.pipeline(places) for places in self.places]
        self.num_samples = sum(len(places) for places in self.places)
        self.num_tokens = sum(loaded.batch.num_tokens for loaded in batches if loaded.batch is not None)
        self.num_bytes = sum(parcel(loaded).buffer.nbytes for loaded in batches)

    def seconds(self) -> Mapping[str, float]:
        """Return the CPU seconds of every stage; packing is the rest of the time."""
        spent: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        with _timed(spent):
            begin = time.process_time()
            for places in self.places:
                loaded = self.pipeline(places)
                sent = time.process_time()
                parcel(loaded).open()
                spent["transport"] += time.process_time() - sent
            total = time.process_time() - begin
        return {**spent, "pack": total - sum(spent.values())}


@contextmanager
def _timed(spent: dict[str, float]) -> Iterator[None]:
    """Add the CPU time of the stages' functions to ``spent``."""

    def timing(call: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            begin = time.process_time()
            try:
                return call(*arguments, **options)
            finally:
                spent[stage] += time.process_time() - begin

        return timed

    with ExitStack() as stack:
        for name, (owner, stage) in _OWNERS.items():
            stack.enter_context(patch.object(owner, name, timing(getattr(owner, name), stage)))
        yield


def texts(recipe: str, *changes: str) -> Built:
    """Return a recipe on the embedded texts, in parts of up to 128 tokens."""
    sizes = [f"train.batch_tokens={TOKENS}", f"train.micro_batch_tokens={TOKENS}", "train.steps=4", "train.schedule.warmup=0"]
    tokenizer = "modalities.text.tokenizer={name: text.english, max_length: 128}"
    return build(load_recipe(recipe, [tokenizer, "data={name: english}", *sizes, *changes]))


def run() -> Feeding:
    """Measure all kinds of samples."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        size = write_images(folder)
        workers = {
            "text/bert, tokenized at every visit": Worker(texts("text/bert", "data.cache_tokens=0")),
            "text/bert, stored tokens": Worker(texts("text/bert")),
            "image/mae": Worker(own(folder)),
            "image/mae, image.torchvision, resize: torch": Worker(own(folder, TORCHVISION, BY_TORCH)),
        }
        retromae = Worker(texts("text/retromae"))
        rounds = [{name: worker.seconds() for name, worker in workers.items()} for _ in range(ROUNDS + 1)][1:]
    rows = [_kind(name, worker, [one[name] for one in rounds]) for name, worker in workers.items()]
    inputs = {
        "texts": f"the embedded ones in parts of up to 128 tokens, {rows[0].tokens_per_sample:.0f} on average",
        "images": f"JPEG files of 500 x 375 pixels and {size / 1e3:.0f} kB, cropped to 224 x 224: {CELLS} tokens",
    }
    sent = {"text/bert": rows[1].bytes_per_token, "text/retromae": retromae.num_bytes / retromae.num_tokens}
    sent["image/mae"] = rows[2].bytes_per_token
    return Feeding("Loading a sample", inputs, rows, sent)


def _kind(name: str, worker: Worker, rounds: Sequence[Mapping[str, float]]) -> Kind:
    stages = {stage: 1e6 * float(np.median([one[stage] for one in rounds])) / worker.num_samples for stage in STAGES}
    low, middle, high = np.percentile([sum(one.values()) for one in rounds], [25, 50, 75]) * 1e6 / worker.num_samples
    tokens = worker.num_tokens / worker.num_samples
    is_text = name.startswith("text")
    rate = TEXT_TOKENS / tokens if is_text else IMAGES
    device = f"{TEXT_TOKENS:,} tokens a second" if is_text else f"{IMAGES:,} images a second"
    cores = float(middle) * rate / 1e6
    sent = worker.num_bytes / worker.num_tokens
    return Kind(name, tokens, stages, float(middle), (float(low), float(high)), sent, device, cores)


def tables() -> dict[str, Callable[[], Feeding]]:
    """Return every table by the name of its result file."""
    return {"feeding": run}
