"""Commands on modalities that the core has never seen: without pictures, several in one recipe."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest

from omnimask import discovery
from omnimask.registry import discover

Command = Callable[..., Any]
RECIPES = Path(__file__).parents[1] / "toys" / "recipes"


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The toy plugins are installed beside the others."""

    def points(*, group: str) -> list[EntryPoint]:
        toys = [EntryPoint(name, name, group) for name in ("toy_signal", "toy_grammar", "toy_pairs")]
        return [*entry_points(group=group), *toys]

    monkeypatch.setattr(discovery, "entry_points", points)
    discover(refresh=True)
    yield
    monkeypatch.undo()
    discover(refresh=True)


SHORT = ("train.steps=4", "train.schedule={name: constant}", "train.validate_every=2", "train.checkpoint_every=2")


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_train_resume_and_inspect(omnimask: Command, tmp_path: Path, files_of: Any, name: str) -> None:
    recipe = RECIPES / f"{name}.yaml"
    result = omnimask("pretrain", recipe, "--run", "a", *SHORT)
    assert result.code == 0, result.err
    assert list((tmp_path / "a" / "figures").iterdir()) == []
    assert omnimask("resume", "a", "train.steps=6").code == 0
    found = json.loads(omnimask("inspect", recipe, "--json").out)
    assert found["not_exact"] == []
    low, mean, high = found["tokens_per_sample"]
    assert low <= mean <= high
    assert found["flops"] > 0


def test_a_modality_that_cannot_be_drawn(omnimask: Command, tmp_path: Path) -> None:
    recipe = RECIPES / "pairs_drop.yaml"
    drawn = omnimask("inspect", recipe, "--figure", "masks.png")
    assert (drawn.code, drawn.errors) == (2, ["none of the modalities signal, words has a renderer to draw with"])
    assert omnimask("pretrain", recipe, "--run", "a", *SHORT).code == 0
    assert omnimask("reconstruct", "a").code == 2
    Path("file").write_text("abc")
    several = omnimask("reconstruct", "a", "--input", "file")
    assert several.errors == ["--input: say which modality file is: --modality signal | words"]
