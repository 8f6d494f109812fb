"""Real runs on a few small pictures, in which faults are made at a step.

Pictures lie in shards of ten; windows of ten mean that an epoch goes through shard after shard.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from omnimask.cli import main
from omnimask.network.model import MaskedModel
from omnimask.training.checkpoints import durable_files as files
from omnimask.training.checkpoints.directory import verify

from ..tiny_recipes import IMAGE

RECIPE = (
    IMAGE.replace("{name: digits, max_validation: 16}", "{name: shards, path: shards, validation: 0, window: 10}")
    .replace("steps: 6", "steps: 30")
    .replace("batch_tokens: 32", "batch_tokens: 16")
    .replace("  validate_every: 3\n", "")
)


@dataclass
class Lab:
    """A folder with shards and a recipe, in which commands are run in this process and faults are made at a step."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capfd: pytest.CaptureFixture[str]
    serve: Callable[[Path], Any]
    run: Path = field(init=False)
    log: str = ""
    code: int = -1

    def __post_init__(self) -> None:
        self.run = self.folder / "run"
        self.shards = self.folder / "shards"

    def command(self, *arguments: str) -> int:
        self.capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        self.log = self.capfd.readouterr().err
        assert "Traceback" not in self.log, self.log
        return code

    def pretrain(self, *changes: str) -> int:
        return self.command("pretrain", "recipe.yaml", *changes, "--run", "run")

    def pretrain_with(self, step: int, fault: Callable[[], object], *changes: str) -> int:
        """Trains; the fault is made when a step was logged, by the main process."""
        append, main_process = files.Appender.append, os.getpid()

        def watching(appender: files.Appender, line: str) -> None:
            append(appender, line)
            if f'"step": {step},' in line and '"lr"' in line and os.getpid() == main_process:
                fault()

        with self.monkeypatch.context() as patch:
            patch.setattr(files.Appender, "append", watching)
            return self.pretrain(*changes)

    def damaged(self, wanted: Callable[[Any, int], Any]) -> contextlib.AbstractContextManager[None]:
        """Inside the ``with`` block, ``wanted(output, call)`` takes the place of what the model gives in training."""
        forward, calls = MaskedModel.forward, iter(range(10**9))

        @contextlib.contextmanager
        def patched() -> Iterator[None]:
            def watched(model: MaskedModel, *args: Any, **options: Any) -> Any:
                output = forward(model, *args, **options)
                return wanted(output, next(calls)) if model.training else output

            with self.monkeypatch.context() as patch:
                patch.setattr(MaskedModel, "forward", watched)
                yield

        return patched()

    @property
    def last(self) -> dict[str, Any]:
        return json.loads((self.run / "metrics.jsonl").read_text().splitlines()[-1])

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.run / "summary.json").read_text())

    @property
    def text(self) -> str:
        """What was said on the terminal, and the log."""
        return self.log + "".join(path.read_text(encoding="utf-8") for path in sorted(self.run.glob("logs/*.log")))

    def change(self, shard: str, place: int, data: bytes) -> None:
        path = self.shards / shard
        content = path.read_bytes()
        path.write_bytes(content[:place] + data + content[place + len(data) :])

    def resumes(self, *changes: str) -> None:
        """The run can be continued to its end, from checkpoints that are whole."""
        for path in sorted((self.run / "checkpoints").glob("step-*")):
            verify(path)
        assert self.command("resume", "run", *changes) == 0, self.log
        assert self.summary["status"] == "finished" and self.last["step"] == 30


class Faults(dict[str, Callable[[Lab], None]]):
    """What makes each fault, by the row of the page; it returns when the row's promise was found kept."""

    def row(self, name: str) -> Callable[[Callable[[Lab], None]], Callable[[Lab], None]]:
        """Marks what tests the row of that name."""

        def add(fault: Callable[[Lab], None]) -> Callable[[Lab], None]:
            self[name] = fault
            return fault

        return add
