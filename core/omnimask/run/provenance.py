"""Recipe and plugin sources of a checkpoint, stored with its weights."""

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
    """Origin of a run. ``recipe`` is the text with all defaults; ``sources`` are the digests of the plugins' packages.

    ``is_complete`` is False if an earlier version, which stored neither, wrote the run.
    """

    recipe: str
    sources: Mapping[str, str] = field(default_factory=dict[str, str])
    is_complete: bool = True

    def files(self) -> dict[str, bytes]:
        """Return the contents by name of the files in every checkpoint."""
        return {RECIPE: self.recipe.encode(), SOURCES: (json.dumps(self.sources, indent=2) + "\n").encode()}

    def record(self) -> dict[str, Any]:
        """Return the content of ``environment.json`` for the time before the first checkpoint."""
        return {"recipe": self.recipe, "sources": dict(self.sources)}


def origin_of(recipe: Recipe) -> Origin:
    """Return the current origin of a recipe."""
    return Origin(recipe.to_yaml(), source_digests(recipe))


def read_origin(checkpoint: Path | None, directory: RunDirectory) -> Origin:
    """Read the origin of a checkpoint; without a checkpoint, the origin at the start of the run.

    Args:
        checkpoint: verified; None if the run was stopped before its first.
        directory: the run's; its ``recipe.yaml`` is the fallback.
    """
    try:
        if checkpoint is not None:
            sources = json.loads((checkpoint / SOURCES).read_text(encoding="utf-8"))
            return Origin((checkpoint / RECIPE).read_text(encoding="utf-8"), sources)
        begun = json.loads(directory.environment.read_text(encoding="utf-8"))
        return Origin(begun["recipe"], begun["sources"])
    except (OSError, ValueError, LookupError, TypeError):
        return Origin(directory.recipe.read_text(encoding="utf-8"), is_complete=False)
