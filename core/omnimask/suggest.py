"""For authors of suggesters: helpers shared by their recipes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from omnimask.messages.printable import printable
from omnimask.run.device import choose_device

__all__ = ["describe_unreadable", "has_gpu", "num_workers", "printable", "rate", "yaml_path"]


def has_gpu() -> bool:
    """Return whether ``device: auto`` trains on a GPU here."""
    return choose_device("auto").type != "cpu"


def num_workers(*, has_gpu: bool) -> int:
    """Return the suggested number of loader processes, leaving one core for training."""
    return min(8 if has_gpu else 2, max(1, (os.cpu_count() or 1) - 1))


def yaml_path(path: Path) -> str:
    """Return a path as a YAML string."""
    return json.dumps(str(path), ensure_ascii=False)


def rate(lr: float) -> str:
    """Format a learning rate for YAML: ``1.50e-4``."""
    return f"{lr:.2e}".replace("e-0", "e-")


def describe_unreadable(found: Sequence[tuple[str, str]], num_looked_at: int, most: int = 3) -> str:
    """Describe unreadable files, given as (name, reason): ``2 of 200``, followed by the first of them."""
    if not found:
        return "none"
    return f"{len(found)} of {num_looked_at:,}" + "".join(f"\n{name} ({reason})" for name, reason in found[:most])
