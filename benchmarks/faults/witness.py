"""A plugin for runs that are killed: writes down which samples every step was computed on, and reads that again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
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


class Notes:
    """Observes one attempt of one rank: a line for every step, with the keys of its samples."""

    def __init__(self, path: Path, model: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = path.open("ab", buffering=0)
        if path.stat().st_size:
            self.file.write(b"\n")  # behind a line that was torn
        self.keys: list[str] = []
        model.register_forward_pre_hook(self.note)

    def note(self, model: Any, arguments: Sequence[Any]) -> None:
        if model.training:
            self.keys += arguments[0].keys

    def omnimask_step_end(self, run: Any) -> None:
        self.file.write(json.dumps({"step": run.progress.step, "keys": self.keys}).encode() + b"\n")
        self.keys.clear()


def omnimask_run_begin(run: Any) -> list[Notes] | None:
    if FOLDER not in os.environ:
        return None
    return [Notes(Path(os.environ[FOLDER]) / f"rank{run.rank}.jsonl", run.model)]


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

    for hook in (Notes.omnimask_step_end, omnimask_run_begin, omnimask_register):
        omnimask.hookimpl(hook)


if __name__ == "witness":
    mark()
