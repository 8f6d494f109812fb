"""For authors of renderers: the output file of a figure. Imports no torch at run time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omnimask.interfaces import Reconstruction

__all__ = ["figure_file", "short_key"]

LONGEST_KEY = 60


def figure_file(reconstructions: Sequence[Reconstruction], path: Path, suffix: str) -> Path:
    """Return ``path`` with the renderer's suffix, and create its folder.

    Raises:
        ValueError: there is nothing to draw.
    """
    if not reconstructions:
        raise ValueError("no reconstructions to draw")
    path = path if path.suffix == suffix else path.with_name(path.name + suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def short_key(key: str) -> str:
    """Shorten a long key to its end, which distinguishes files."""
    return key if len(key) <= LONGEST_KEY else "…" + key[-LONGEST_KEY:]
