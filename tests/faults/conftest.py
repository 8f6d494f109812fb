"""The modules of ``benchmarks/faults``, which are scripts beside the project and no package of it, and the lab of faults."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from omnimask.cli import main

REWRITTEN = ("lab", "sample_faults", "shard_faults", "step_faults", "stop_faults")
pytest.register_assert_rewrite(*(f"{__package__}.{name}" for name in REWRITTEN))

from .lab import RECIPE, Lab  # noqa: E402  (its assertions are rewritten)

FOLDER = Path(__file__).parents[2] / "benchmarks" / "faults"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Imports one of them by name, for this test only."""
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module
    for path in FOLDER.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pictures in shards of ten."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    for number in range(60):
        Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)).save(folder / "pictures" / f"{number:03d}.png")
    sizes = ["--shard-samples", "10", "--in-order"]
    assert main(["shard", str(folder / "pictures"), str(folder / "shards"), *sizes]) == 0
    return folder / "shards"


@pytest.fixture
def lab(
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    serve: Callable[[Path], Any],
) -> Lab:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMNIMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("omnimask.remote.server._LONGEST_PAUSE", 0.01)
    shutil.copytree(shards, tmp_path / "shards")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return Lab(tmp_path, monkeypatch, capfd, serve)
