"""The recipe and the plugins' source that a checkpoint was made with, kept beside its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omnimask.recipe import Recipe
from omnimask.run.plugin_sources import source_digests
from omnimask.training.checkpoints.run_directory import RunDirectory

RECIPE = "recipe.yaml"
SOURCES = "sources.json"
"""Names of the files in a checkpoint."""


@dataclass(frozen=True)
class Origin:
    """``recipe`` is the text with all defaults written out; ``sources`` the digests of the plugins' packages.

    ``is_complete`` is False where an earlier version wrote the run and kept neither.
    """

    recipe: str
    sources: Mapping[str, str] = field(default_factory=dict[str, str])
    is_complete: bool = True

    def files(self) -> dict[str, bytes]:
        """Contents by name of the files that every checkpoint carries."""
        return {RECIPE: self.recipe.encode(), SOURCES: (json.dumps(self.sources, indent=2) + "\n").encode()}

    def record(self) -> dict[str, Any]:
        """What ``environment.json`` keeps until there is a checkpoint."""
        return {"recipe": self.recipe, "sources": dict(self.sources)}


def origin_of(recipe: Recipe) -> Origin:
    """What a run of a recipe is made of now."""
    return Origin(recipe.to_yaml(), source_digests(recipe))


def read_origin(checkpoint: Path | None, directory: RunDirectory) -> Origin:
    """What a checkpoint was made with; without a checkpoint, what the run began with.

    Args:
        checkpoint: verified; None where the run was stopped before its first.
        directory: the run's; its ``recipe.yaml`` stands in where nothing was kept.
    """
    try:
        if checkpoint is not None:
            sources = json.loads((checkpoint / SOURCES).read_text(encoding="utf-8"))
            return Origin((checkpoint / RECIPE).read_text(encoding="utf-8"), sources)
        begun = json.loads(directory.environment.read_text(encoding="utf-8"))
        return Origin(begun["recipe"], begun["sources"])
    except (OSError, ValueError, LookupError, TypeError):
        return Origin(directory.recipe.read_text(encoding="utf-8"), is_complete=False)
