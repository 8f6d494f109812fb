"""A plugin for runs that are killed: writes down which samples every step was computed on, and reads that again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = "OMNIMASK_WITNESS"
"""Environment variable: where the notes are written; without it the plugin does nothing."""

METADATA = {
    "METADATA": "Metadata-Version: 2.1\nName: omnimask-witness\nVersion: 1.0\n",
    "entry_points.txt": "[omnimask]\nwitness = witness\n",
}


def install(folder: Path) -> Path:
    """Makes a folder for ``PYTHONPATH`` in which this plugin is installed."""
    info = folder / "omnimask_witness-1.0.dist-info"
    info.mkdir(parents=True)
    for name, text in METADATA.items():
        (info / name).write_text(text, encoding="utf-8")
    (folder / "witness.py").write_bytes(Path(__file__).read_bytes())
    return folder


def omnimask_parameter_groups(model: Any) -> None:
    """Every rank makes an optimizer before it trains: from then on each step is noted as soon as it was taken."""
    from omnimask.training.step import StepRunner

    if FOLDER not in os.environ:
        return
    path = Path(os.environ[FOLDER]) / f"rank{os.environ.get('RANK', '0')}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("ab", buffering=0)
    file.write(b"\n")  # behind a line that was torn
    take = StepRunner.__call__

    def noted(runner: StepRunner, loaded: Any, *arguments: Any) -> Any:
        result = take(runner, loaded, *arguments)
        keys = [key for batch in loaded.batches for key in batch.keys]
        file.write(json.dumps({"step": loaded.step + 1, "keys": keys}).encode() + b"\n")
        return result

    patched: Any = StepRunner
    patched.__call__ = noted


def omnimask_register(registry: Any) -> None:
    """Nothing: this plugin only watches."""


def visits(folder: Path) -> Mapping[int, list[str]]:
    """Keys by step, of all ranks: what the last attempt that took a step wrote of it, since its result is the one that stayed."""
    found: dict[int, list[str]] = {}
    for path in sorted(folder.glob("rank*.jsonl")):
        steps: dict[int, list[str]] = {}
        for line in path.read_bytes().split(b"\n"):
            try:
                note = json.loads(line)
            except ValueError:
                continue
            steps[note["step"]] = note["keys"]
        for step, keys in steps.items():
            found.setdefault(step, []).extend(keys)
    return found


def mark() -> None:
    """The hooks, where omnimask is installed."""
    import omnimask

    for hook in (omnimask_parameter_groups, omnimask_register):
        omnimask.hookimpl(hook)


if __name__ == "witness":
    mark()
