"""Runs of the command in several processes, and what they leave."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ..tiny_recipes import LATENT, REPLACED

ROOT = Path(__file__).parents[2]
TOYS = ROOT / "tests" / "toys"
PLUGINS = {"toy_signal": TOYS, "toy_grammar": TOYS, "toy_pairs": TOYS, "saboteur": Path(__file__).parent}
TIMEOUT = 240.0

IMAGE = """\
omnimask: 1
device: cpu
seed: 5
modalities:
  image:
    tokenizer: {name: image.patch, image_size: 8, patch_size: 2, channels: 1}
    masker: {name: random, ratio: 0.5}
    corruptor: {name: drop}
encoder: {name: transformer, width: 32, depth: 2, heads: 4, summary: 1}
predictors:
  - {name: decoder, width: 32, depth: 1, heads: 4, target: {name: patch}}
data: {name: digits, max_validation: 64}
train:
  steps: 20
  batch_tokens: 512
  micro_batch_tokens: 128
  optimizer: {name: adamw, lr: 1e-3, eps: 1e-4}
  schedule: {name: cosine, warmup: 4}
  clip: 1.0
  ema: 0.9
  log_every: 1
  validate_every: 10
  checkpoint_every: 10
"""

TEXT = """\
omnimask: 1
device: cpu
seed: 5
modalities:
  text:
    tokenizer: {name: text.english, max_length: 48}
    masker: {name: random, ratio: 0.3}
    corruptor: {name: bert}
encoder: {name: modernbert, width: 32, depth: 2, heads: 4, window: 16}
predictors:
  - {name: mlm, target: {name: ids}}
data: {name: english, max_validation: 64}
train:
  steps: 20
  batch_tokens: 700
  micro_batch_tokens: 200
  optimizer: {name: sgd, lr: 0.1, momentum: 0.5}
  log_every: 1
  validate_every: 10
  checkpoint_every: 10
"""


PAIRS = """\
omnimask: 1
device: cpu
seed: 5
modalities:
  signal:
    tokenizer: {name: toy.window, window: 8}
    masker: {name: random, ratio: 0.5}
    corruptor: {name: drop}
  words:
    tokenizer: {name: toy.words}
    masker: {name: span, ratio: 0.3, mean_length: 2.0}
    corruptor: {name: sentinel_spans, num_sentinels: 12}
encoder: {name: transformer, width: 32, depth: 2, heads: 4, position: {name: rotary}}
predictors:
  - {name: decoder, of: signal, width: 32, depth: 1, heads: 4, position: {name: rotary}, target: {name: patch}, label: signal}
  - {name: autoregressive, of: words, width: 32, depth: 1, heads: 4, position: {name: rotary}, target: {name: ids}, label: words}
data: {name: toy.pairs, validation: 0.1}
train:
  steps: 20
  batch_tokens: 200
  micro_batch_tokens: 30                        # most have one of the two only
  optimizer: {name: adamw, lr: 4.0e-3, eps: 1e-4}
  log_every: 1
  validate_every: 10
  checkpoint_every: 10
"""

RECIPES = {"image": IMAGE, "text": TEXT, "pairs": PAIRS, "latent": LATENT, "replaced": REPLACED}


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recipes, shared by all runs, and plugins for them."""
    folder = tmp_path_factory.mktemp("distributed")
    for name, recipe in RECIPES.items():
        (folder / f"{name}.yaml").write_text(recipe, encoding="utf-8")
    witness().install(folder / "site")
    info = folder / "site" / "omnimask_toys-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: omnimask-toys\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[omnimask]\n" + "".join(f"{name} = {name}\n" for name in PLUGINS), encoding="utf-8")
    return folder


def witness() -> ModuleType:
    """The plugin that notes the samples of every step."""
    spec = importlib.util.spec_from_file_location("benchmarks_witness", ROOT / "benchmarks" / "faults" / "witness.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Start = Callable[..., "subprocess.Popen[str]"]
Call = Callable[..., "subprocess.CompletedProcess[str]"]


def environment(folder: Path) -> dict[str, str]:
    path = [str(folder / "site"), str(TOYS / "plugins"), str(Path(__file__).parent)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1", "OMNIMASK_CACHE": str(folder / "cache")}


@pytest.fixture(scope="session")
def start(scene: Path) -> Start:
    """``omnimask ...`` in the scene, not waited for."""

    def run(*arguments: Any, **extra: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "omnimask", *map(str, arguments)],
            cwd=scene,
            env={**environment(scene), **extra},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


@pytest.fixture(scope="session")
def call(start: Start) -> Call:
    """``omnimask ...`` in the scene, to its end."""

    def run(*arguments: Any, **extra: str) -> subprocess.CompletedProcess[str]:
        process = start(*arguments, **extra)
        try:
            out, err = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run


Trained = Callable[..., Path]


@pytest.fixture(scope="session")
def trained(call: Call, scene: Path) -> Trained:
    """The folder of a finished run, with notes of its samples beside it (``...-visits``); the same arguments are run once."""
    done: dict[tuple[Any, ...], Path] = {}

    def run(recipe: str, *arguments: str, **extra: str) -> Path:
        key = (recipe, *arguments, *extra.items())
        if key not in done:
            folder = scene / f"run-{len(done)}"
            notes = {"OMNIMASK_WITNESS": str(visits_of(folder))}
            found = call("pretrain", f"{recipe}.yaml", "--run", folder, *arguments, **notes, **extra)
            assert found.returncode == 0, found.stderr
            done[key] = folder
        return done[key]

    return run


def visits_of(run: Path) -> Path:
    return run.with_name(f"{run.name}-visits")


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def curve(run: Path, *keys: str) -> dict[tuple[str, int], float]:
    """Numbers by key and step."""
    found = {(key, line["step"]): line[key] for line in lines(run) for key in keys or KEYS if key in line}
    assert found
    return found


KEYS = ("loss", "validation_loss", "grad_norm", "tokens", "samples", "mask_ratio", "total_tokens", "skipped_steps")


def largest_difference(run: Path, other: Path, *keys: str) -> float:
    """Relative, over all losses, norms and counts of both runs, which have the same steps."""
    expected, found = curve(run, *keys), curve(other, *keys)
    assert expected.keys() == found.keys()
    assert [key for key, value in expected.items() if value is None] == [key for key, value in found.items() if value is None]
    return max(abs(found[key] - value) / abs(value or 1.0) for key, value in expected.items() if value is not None)
