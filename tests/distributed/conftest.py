"""Runs of the command in several processes, and what they leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recipes ``image.yaml`` and ``text.yaml``, shared by all runs."""
    folder = tmp_path_factory.mktemp("distributed")
    (folder / "image.yaml").write_text(IMAGE, encoding="utf-8")
    (folder / "text.yaml").write_text(TEXT, encoding="utf-8")
    return folder


Start = Callable[..., "subprocess.Popen[str]"]
Call = Callable[..., "subprocess.CompletedProcess[str]"]


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "OMNIMASK_CACHE": str(folder / "cache")}


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


@pytest.fixture(scope="session")
def trained(call: Call, scene: Path) -> Callable[..., Path]:
    """The folder of a finished run; the same arguments are run once."""
    done: dict[tuple[str, ...], Path] = {}

    def run(recipe: str, *arguments: str) -> Path:
        key = (recipe, *arguments)
        if key not in done:
            folder = scene / f"run-{len(done)}"
            found = call("pretrain", f"{recipe}.yaml", "--run", folder, *arguments)
            assert found.returncode == 0, found.stderr
            done[key] = folder
        return done[key]

    return run


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def curve(run: Path, *keys: str) -> dict[tuple[str, int], float]:
    """Numbers by key and step."""
    found = {(key, line["step"]): line[key] for line in lines(run) for key in keys or KEYS if key in line}
    assert found
    return found


KEYS = ("loss", "validation_loss", "grad_norm", "tokens", "samples", "mask_ratio", "total_tokens")


def largest_difference(run: Path, other: Path) -> float:
    """Relative, over all losses, norms and counts of both runs, which have the same steps."""
    expected, found = curve(run), curve(other)
    assert expected.keys() == found.keys()
    return max(abs(found[key] - value) / abs(value) for key, value in expected.items())
