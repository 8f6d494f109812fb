"""Runs commands in this process on a recipe so small that a command takes a second."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from omnimask.cli import main
from omnimask.registry import discover, distributions, installed
from omnimask.registry.distributions import Failure

from ..tiny_recipes import IMAGE


@dataclass
class Result:
    """Exit code and output of one command."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The messages that begin with ``error: ``, without it."""
        return [line.removeprefix("error: ") for line in self.err.splitlines() if line.startswith("error: ")]


Command = Callable[..., Result]


@pytest.fixture
def omnimask(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Calls ``omnimask.cli.main`` in an empty working directory; a traceback is a failure unless it is asked for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("OMNIMASK_CACHE", str(tmp_path / ".cache"))

    def run(*argv: str | Path, traceback: bool = False) -> Result:
        capfd.readouterr()
        code = main([str(argument) for argument in argv])
        captured = capfd.readouterr()
        assert traceback == ("Traceback" in captured.err), captured.err
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The toy plugins are installed beside the others."""
    scan = distributions.scan

    def with_toys(group: str) -> tuple[list[EntryPoint], list[Failure]]:
        points, damaged = scan(group)
        return [*points, *(EntryPoint(name, name, group) for name in ("toy_signal", "toy_grammar", "toy_pairs"))], damaged

    monkeypatch.setattr(installed, "scan", with_toys)
    discover(refresh=True)
    yield
    monkeypatch.undo()
    discover(refresh=True)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """The file of the tiny recipe."""
    path = tmp_path / "tiny.yaml"
    path.write_text(IMAGE, encoding="utf-8")
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of random greyscale PNG files of the sizes given."""

    def make(sizes: Sequence[int], name: str = "pictures") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        rng = np.random.default_rng(0)
        for number, size in enumerate(sizes):
            Image.fromarray(rng.integers(0, 256, (size, size), np.uint8)).save(folder / f"{number:03d}.png")
        return folder

    return make


@dataclass(frozen=True)
class Files:
    """What a run directory says."""

    path: Path

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]

    @property
    def losses(self) -> dict[int, str]:
        """The loss of every logged step, bit for bit."""
        return {line["step"]: float.hex(line["loss"]) for line in self.metrics if "loss" in line}

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.path / "summary.json").read_text(encoding="utf-8"))

    @property
    def environment(self) -> dict[str, Any]:
        return json.loads((self.path / "environment.json").read_text(encoding="utf-8"))

    @property
    def checkpoints(self) -> list[str]:
        return sorted(path.name for path in (self.path / "checkpoints").iterdir())


@pytest.fixture
def files_of() -> type[Files]:
    """Opens a run directory for reading."""
    return Files
