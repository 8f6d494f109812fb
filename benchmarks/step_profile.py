"""Where the time of a training step goes: self CPU time by kind of operation, for the masked autoencoder of ``mae.py``.

``python benchmarks/step_profile.py [--out FOLDER]`` prints the table and writes ``step_profile.json``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import mae
import numpy as np
import torch
from protocol import machine
from torch.profiler import ProfilerActivity, profile

KINDS: Mapping[str, tuple[str, ...]] = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::linear", "aten::matmul"),
    "attention": ("scaled_dot_product",),
    "optimizer": ("_fused_adamw", "Optimizer"),
    "activations": ("aten::gelu", "aten::silu"),
    "norms": ("layer_norm", "rms_norm"),
    "gathers and copies": ("aten::index", "aten::cat", "aten::copy_", "aten::split", "aten::stack", "aten::select"),
    "sums and the loss": ("aten::sum", "aten::mean", "aten::var", "aten::pow", "aten::square"),
}
STEPS = 3


def shares(width: int = 512, depth: int = 8, heads: int = 16) -> dict[str, float]:
    """Share of each kind in a step's CPU time, the rest as ``other``."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    images = np.random.default_rng(0).integers(0, 256, (mae.IMAGES, mae.SIZE, mae.SIZE, 3), dtype=np.uint8)
    decoder = [f"predictors.0.{key}={value}" for key, value in (("width", width), ("depth", depth), ("heads", heads))]
    model, batch = mae.ours("image/mae", images, decoder)
    call = mae.step(model, lambda: model(batch).loss)
    call()
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        for _ in range(STEPS):
            call()
    seconds = dict.fromkeys((*KINDS, "other"), 0.0)
    for event in recorded.key_averages():
        kind = next((kind for kind, names in KINDS.items() if any(name in event.key for name in names)), "other")
        seconds[kind] += event.self_cpu_time_total
    total = sum(seconds.values())
    return {kind: value / total for kind, value in seconds.items()}


def main() -> None:
    """Prints and writes the shares for the published decoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the result file")
    folder = parser.parse_args().out
    found = shares()
    for kind, share in sorted(found.items(), key=lambda item: -item[1]):
        print(f"{kind:24} {100 * share:5.1f} %")
    folder.mkdir(parents=True, exist_ok=True)
    result = {"encoder": mae.ENCODER, "decoder": "512 x 8, 16 heads", "images": mae.IMAGES, "shares": found, "machine": machine()}
    (folder / "step_profile.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
