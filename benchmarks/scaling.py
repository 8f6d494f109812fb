"""Measures what scaling depends on, on one core, and computes from it what 8, 64 and 1,024 devices would need.

    python benchmarks/scaling.py

Measured: parameters and operations of recipes, memory of activations, how fast one process makes samples, and how the planner
shares out steps among 1,024 ranks. Assumed: what a device and its links do (:class:`Assumptions`). Everything else is arithmetic;
``benchmarks/results/scaling.json`` has all of it, and docs/scaling.md shows it.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

RESULT = Path(__file__).parent / "results" / "scaling.json"
DEVICES = (8, 64, 1024)
RANKS = 1024


@dataclass(frozen=True)
class Assumptions:
    """Not measured: of a device of the H100's kind, eight in a node, and its links, what might be reached of their data sheets.

    Args:
        flops: operations per second in bf16.
        inside: bytes per second that a device sends to others of its node.
        between: bytes per second that a device sends to other nodes.
        per_node: devices of a node.
        disk: bytes per second that a node writes to shared storage.
    """

    flops: float = 350e12
    inside: float = 300e9
    between: float = 40e9
    per_node: int = 8
    disk: float = 2e9


@dataclass(frozen=True)
class Model:
    """Measured of a recipe: learned numbers, operations per token of a step, bytes that a token keeps for the backward pass (fp32);
    and its step: tokens and samples. ``samples_per_second`` one process makes on one core, from files to packed batches."""

    parameters: int
    flops_per_token: float
    activation_bytes_per_token: float
    batch_tokens: int
    batch_samples: int
    samples_per_second: float
    sample_bytes: float


@dataclass(frozen=True)
class Row:
    """What a step needs on each of so many devices: seconds of computing and of summing gradients, bytes sent, cores to feed it."""

    devices: int
    samples: float
    compute: float
    sent: float
    network: float
    share: float
    samples_per_second: float
    cores: float
    node_bytes_per_second: float


def row(model: Model, devices: int, assumed: Assumptions) -> Row:
    """Weights whole on every device; gradients in fp32 travel once a step, after the last backward pass and not during it."""
    compute = model.flops_per_token * model.batch_tokens / devices / assumed.flops
    sent, network = all_reduce(4 * model.parameters, devices, assumed)
    step = compute + network
    rate = model.batch_samples / step / devices
    return Row(
        devices,
        model.batch_samples / devices,
        compute,
        sent,
        network,
        network / step,
        model.batch_samples / step,
        rate / model.samples_per_second,
        rate * min(devices, assumed.per_node) * model.sample_bytes,
    )


def all_reduce(size: float, devices: int, assumed: Assumptions) -> tuple[float, float]:
    """Bytes that each device sends, and seconds: a ring inside each node, rings between nodes for each of its devices."""
    inner = min(devices, assumed.per_node)
    nodes = devices // inner
    inside = 2 * (inner - 1) / inner * size
    between = 2 * (nodes - 1) / nodes * size / inner
    return inside + between, inside / assumed.inside + between / assumed.between


def memory(model: Model, devices: int, *, is_sharded: bool) -> Mapping[str, float]:
    """Bytes on each device without activations: fp32 weights, gradients and two moments.

    Shares of weights and moments with FSDP; gradients stay whole between the micro-batches of a step.
    """
    parts = devices if is_sharded else 1
    return {
        "weights": 4.0 * model.parameters / parts,
        "gradients": 4.0 * model.parameters,
        "moments": 8.0 * model.parameters / parts,
    }


def gathered(model: Model, devices: int, assumed: Assumptions) -> tuple[float, float]:
    """FSDP: bytes that each device receives for one micro-batch (bf16 weights, forward and backward), and seconds."""
    outside = max(0, devices - assumed.per_node) / devices
    inside = (min(devices, assumed.per_node) - 1) / devices
    size = 2 * 2.0 * model.parameters
    return size * (inside + outside), size * (inside / assumed.inside + outside / assumed.per_node / assumed.between)


def checkpoint(model: Model, assumed: Assumptions) -> tuple[float, float]:
    """Bytes of a checkpoint (weights and two moments in fp32), and seconds to write it from one node."""
    size = 12.0 * model.parameters
    return size, size / assumed.disk


# ---- measured ----


def measure_models(folder: Path) -> Mapping[str, Model]:
    """The recipes of the page."""
    photos = _photos(folder / "photos")
    size = float(np.mean([path.stat().st_size for path in photos.iterdir()]))
    large = ["encoder.width=1280", "encoder.depth=32", "encoder.heads=16"]
    return {
        "image/mae": _measure("image/mae", [f"data.path={photos}"], size),
        "image/mae, ViT-H": _measure("image/mae", [f"data.path={photos}", *large], size),
        "text/modernbert": _measure(
            "text/modernbert", ["data={name: english}", "modalities.text.tokenizer={name: text.english}"], None
        ),
    }


def _photos(folder: Path, count: int = 256) -> Path:
    """JPEG files of 500 x 375 pixels, smooth with some noise, about as large as photos of that size."""
    from PIL import Image

    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), np.uint8)).resize((500, 375), Image.Resampling.BICUBIC)
        noisy = np.asarray(coarse, np.int16) + random.integers(-12, 13, (375, 500, 3), np.int16)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{number:03d}.jpg", quality=85)
    return folder


def _measure(name: str, changes: Sequence[str], sample_bytes: float | None) -> Model:
    from omnimask.builder.build import build
    from omnimask.data.planner import Place
    from omnimask.recipe import load_recipe
    from omnimask.report.inspection import activation_bytes, step_flops

    recipe = load_recipe(name, [*changes, "data.validation=0"])
    built = build(recipe)
    chosen = built.train_indices[:2].tolist()
    batch = built.validation.pack([built.validation.sample(Place(0, 0, index, 0.0)) for index in chosen])
    counts = np.broadcast_to(built.counts, len(built.dataset))[built.train_indices]
    sizes = [len(_bytes(built.dataset[int(index)])) for index in built.train_indices[:200]] if sample_bytes is None else []
    return Model(
        built.model.num_parameters,
        step_flops(built.model, batch) / batch.num_tokens,
        activation_bytes(built.model, batch) / batch.num_tokens,
        recipe.train.batch_tokens,
        round(recipe.train.batch_tokens / float(counts.mean())),
        _samples_per_second(built),
        float(np.mean(sizes)) if sample_bytes is None else sample_bytes,
    )


def _bytes(sample: Mapping[str, Any]) -> bytes:
    value = next(iter(sample.values()))
    return value if isinstance(value, bytes) else str(value).encode()


def _samples_per_second(built: Any, seconds: float = 10.0) -> float:
    """CPU seconds of one process from the data set to packed micro-batches."""
    from omnimask.data.planner import Cursor

    micro_batches = built.planner("cpu").step(0, Cursor()).micro_batches
    pipeline, done, spent = built.pipeline, 0, 0.0
    for number, places in enumerate(micro_batches * 100):
        part = places[:32]
        begin = time.process_time()
        pipeline(part)
        if number:  # the first is a warm-up
            done, spent = done + len(part), spent + time.process_time() - begin
        if spent > seconds:
            break
    return done / spent


def measure_planner(steps: int = 12) -> Mapping[str, float]:
    """Steps of 2^24 tokens of ragged samples in shards, shared out among 1,024 ranks; seconds of CPU of one rank's process."""
    from omnimask.data.order import WindowOrder
    from omnimask.data.planner import Cursor, Planner, balanced

    random = np.random.default_rng(0)
    num_samples, shard = 600_000, 5_000
    counts = random.lognormal(5.0, 0.6, num_samples).astype(np.int64).clip(16, 2048)
    order = WindowOrder(np.arange(num_samples), np.arange(0, num_samples, shard), seed=3, window=65_536)
    planner = Planner(order, counts, batch_tokens=2**24, micro_batch_tokens=8192, steps=100)
    cursor, imbalance, spent = Cursor(), [], 0.0
    for step in range(steps):
        begin = time.process_time()
        plan = planner.step(step, cursor)
        plan.share(step * 97 % RANKS, RANKS)
        spent += time.process_time() - begin if step else 0.0
        bounds = np.array(balanced(plan.sizes, RANKS))
        tokens = np.add.reduceat(plan.sizes, bounds[:-1])
        imbalance.append(float(tokens.max() / tokens.mean()))
        cursor = plan.after
    return {"worst": max(imbalance), "median": float(np.median(imbalance)), "seconds": spent / (steps - 1), "ranks": RANKS}


def computed(models: Mapping[str, Model], assumed: Assumptions) -> Mapping[str, Any]:
    """All that follows from the measurements."""
    return {
        name: {
            "rows": [asdict(row(model, devices, assumed)) for devices in DEVICES],
            "memory": {
                "whole": memory(model, 1, is_sharded=False),
                "shared by 8": memory(model, 8, is_sharded=True),
                "shared by 64": memory(model, 64, is_sharded=True),
            },
            "gathered by 8": gathered(model, 8, assumed),
            "checkpoint": checkpoint(model, assumed),
            "half": half(model, assumed),
        }
        for name, model in models.items()
    }


def half(model: Model, assumed: Assumptions) -> int:
    """Samples per device at which summing gradients among many takes as long as computing."""
    network = all_reduce(4 * model.parameters, DEVICES[-1], assumed)[1]
    per_sample = model.flops_per_token * model.batch_tokens / model.batch_samples / assumed.flops
    return math.ceil(network / per_sample)


def tables(result: Mapping[str, Any]) -> Sequence[str]:
    """The lines of the page's tables."""
    lines: list[str] = []
    for name, model in result["models"].items():
        numbers = Model(**model)
        tokens = numbers.batch_tokens / numbers.batch_samples
        lines.append(
            f"| `{name}` | {numbers.parameters / 1e6:.0f} M | {numbers.flops_per_token * tokens / 1e9:.0f} G | "
            f"{numbers.activation_bytes_per_token / 1e3:.0f} kB | {numbers.batch_samples:,} | {numbers.samples_per_second:,.0f} |"
        )
    for name, found in result["computed"].items():
        for one in (Row(**values) for values in found["rows"]):
            lines.append(
                f"| `{name}` | {one.devices:,} | {one.samples:,.0f} | {1e3 * one.compute:,.1f} | {one.sent / 1e9:.2f} | "
                f"{1e3 * one.network:.1f} | {100 * one.share:.0f} % | {one.samples_per_second:,.0f} | {one.cores:.1f} | "
                f"{one.node_bytes_per_second / 1e6:,.0f} |"
            )
        held = [sum(found["memory"][kind].values()) / 1e9 for kind in ("whole", "shared by 8", "shared by 64")]
        size, seconds = found["checkpoint"]
        received, gathering = found["gathered by 8"]
        lines.append(
            f"| `{name}` | {held[0]:.2f} | {held[1]:.2f} | {held[2]:.2f} | {received / 1e9:.2f} | {1e3 * gathering:.1f} | "
            f"{size / 1e9:.2f} | {seconds:.1f} |"
        )
    return lines


def main() -> None:
    """Measures, computes, writes; with ``--compute``, measures nothing anew."""
    import sys

    import torch

    torch.set_num_threads(1)
    assumed = Assumptions()
    if "--compute" in sys.argv:
        kept = json.loads(RESULT.read_text(encoding="utf-8"))
        models, planner = {name: Model(**model) for name, model in kept["models"].items()}, kept["planner"]
    else:
        with tempfile.TemporaryDirectory() as folder:
            models, planner = measure_models(Path(folder)), measure_planner()
    result = {
        "assumed": asdict(assumed),
        "models": {name: asdict(model) for name, model in models.items()},
        "planner": planner,
        "computed": computed(models, assumed),
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print("\n".join(tables(result)))


if __name__ == "__main__":
    main()
