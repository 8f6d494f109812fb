"""A few texts with a recipe that trains on them, in ranges of four, and a cache of every test's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from omnimask import load_recipe
from omnimask.builder.build import Built, build
from omnimask.data import scans
from omnimask.data.planner import Cursor

from ..tiny_recipes import TEXT

NUM_TEXTS = 23


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(scans, "RANGE", 4)
    monkeypatch.setattr(scans, "_PATIENCE", -1.0)
    monkeypatch.setattr(scans, "cores_per_rank", lambda: 2)
    monkeypatch.setenv("OMNIMASK_CACHE", str(tmp_path / "cache"))


def write_texts(folder: Path, changes: Mapping[int, Any] | None = None) -> Path:
    """Texts of one part, of several, with white space around, an empty one, and one that is no text."""
    texts: dict[int, Any] = {
        number: f"  Text {number} is short.\n" if number % 3 else f"Sentence {number}. " * 20 for number in range(NUM_TEXTS)
    }
    texts |= {5: "   ", 7: 12, **(changes or {})}
    lines = [json.dumps({"text": text, "year": number % 4, "label": f"kind {number % 2}"}) for number, text in texts.items()]
    (folder / "texts.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "texts.jsonl"


def recipe_file(folder: Path) -> Path:
    (folder / "tiny.yaml").write_text(TEXT.replace("{name: english}", f"{{name: jsonl, path: {folder / 'texts.jsonl'}}}"))
    return folder / "tiny.yaml"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    write_texts(tmp_path)
    return recipe_file(tmp_path)


def built(recipe: Path, *changes: str) -> Built:
    return build(load_recipe(str(recipe), changes))


def on_store(recipe: Path, path: Path, *changes: str) -> Built:
    return built(recipe, "data.name=tokens", f"data.path={path}", *changes)


def steps(built: Built) -> list[Any]:
    return [(step.batches, [bad.key for bad in step.bad]) for step in built.loader(Cursor(), 0)]
