"""Trains a run, and says in one line what it came to. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnimask.cli.output import say
from omnimask.errors import Interrupted

if TYPE_CHECKING:
    from omnimask.run.prepare import Run


def train(run: Run) -> dict[str, Any]:
    """Trains to the end, draws the figure and returns the summary; an interrupted run is told how to continue."""
    from omnimask.run.finish import finish

    try:
        return finish(run)
    except Interrupted:
        say(f"continue with: omnimask resume {run.directory.path}")
        raise


def closing_line(path: Path, summary: Mapping[str, Any]) -> str:
    """The outcome of a run, and where it lies."""
    figures = sorted((path / "figures").glob("reconstructions.*")) or sorted((path / "figures").glob("reconstructions-*"))
    pictures = "".join(f", {figure.relative_to(path)}" for figure in figures)
    return f"{outcome(summary)}. It lies in {path}: summary.json, metrics.jsonl{pictures}"


def outcome(summary: Mapping[str, Any]) -> str:
    """The numbers of ``summary.json`` that say how a run ended."""
    parts = [f"{summary['status']} at step {summary['step']} of {summary['steps']}"]
    for name in ("loss", "best_validation_loss"):
        if summary[name] is not None:
            parts.append(f"{name.replace('_', ' ')} {summary[name]:.4f}")
    if summary["bad_samples"]:
        parts.append(f"{len(summary['bad_samples'])} unreadable samples left out")
    return ", ".join(parts)
