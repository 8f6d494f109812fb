"""What the shared loop costs beside a bare one: the same model, optimizer and pre-made batches, with and without the loop."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from protocol import Comparison, Variant, compare
from torch import Tensor, nn

import omnimask.network.model
from omnimask.component import named
from omnimask.data.loader import LoadedStep
from omnimask.data.planner import Cursor
from omnimask.interfaces import MaskedBatch
from omnimask.training.checkpoints.run_directory import RunDirectory
from omnimask.training.config import TrainConfig
from omnimask.training.inputs import RunContext, TrainingData
from omnimask.training.loop import Trainer

FIRST = 20
"""Steps that are not timed: making the directory and the first allocations."""


class Perceptron(nn.Module):
    """A model with nothing but matrix products, so that the rest of a step is the loop's."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def counts(self, batch: MaskedBatch) -> dict[str, float]:
        return {"loss": float(len(batch.labels["x"]))}

    def forward(
        self, batch: MaskedBatch, denominators: dict[str, float] | None = None, *, is_scored: bool = False
    ) -> omnimask.network.model.Output:
        x: Tensor = batch.labels["x"]
        loss = (self.layers(x) - x).square().mean(1).sum() / (denominators or self.counts(batch))["loss"]
        return omnimask.network.model.Output(loss, {"loss": loss.detach()})


def batch_of(rows: int, width: int) -> MaskedBatch:
    """A batch that holds nothing but numbers."""
    return MaskedBatch({}, {}, {}, torch.zeros(rows), tuple(map(str, range(rows))), labels={"x": torch.randn(rows, width)})


class Loop:
    """A run of the Trainer, of which the steps after the first are timed."""

    def __init__(self, rows: int, width: int, steps: int) -> None:
        self.model = Perceptron(width)
        self.batch = batch_of(rows, width)
        self.steps = steps

    def __call__(self) -> float:
        """CPU seconds of the timed steps."""
        marks: list[float] = []

        def loaded(cursor: Cursor, first: int) -> Iterator[LoadedStep]:
            for number in range(first, self.steps):
                if number in (FIRST, self.steps - 1):
                    marks.append(time.process_time())
                yield LoadedStep(number, [self.batch], (), Cursor(0, number + 1))

        folder = Path(tempfile.mkdtemp())
        try:
            config = TrainConfig(
                steps=self.steps,
                batch_tokens=1,
                optimizer=named("optimizer", "adamw", lr=1e-4),
                schedule=named("schedule", "cosine", warmup=10),
                log_every=50,
                checkpoint_every=10 * self.steps,
            )
            directory = RunDirectory(folder / "run")
            run = RunContext(directory, torch.device("cpu"), show=False)
            trainer = Trainer(self.model, TrainingData(loaded), config, run)
            directory.create("omnimask: 1\n", {})
            trainer.fit()
        finally:
            shutil.rmtree(folder)
        return marks[1] - marks[0]


def bare(rows: int, width: int, steps: int) -> float:
    """CPU seconds of as many steps of a plain loop: forward, backward, fused AdamW."""
    model, batch = Perceptron(width), batch_of(rows, width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    begin = 0.0
    for number in range(steps):
        if number == FIRST:
            begin = time.process_time()
        if number == steps - 1:
            return time.process_time() - begin
        optimizer.zero_grad(set_to_none=True)
        model(batch).loss.backward()
        optimizer.step()
    raise ValueError("too few steps")


def run(rows: int, width: int, steps: int, rounds: int = 7) -> Comparison:
    """The table for one size of step. Seconds are those inside the timed part, so both sides report them themselves."""
    loop = Loop(rows, width, steps)
    clock = [0.0]

    def inside(seconds: float) -> None:
        clock[0] = seconds / (steps - 1 - FIRST)

    variants = [
        Variant("bare loop", lambda: inside(bare(rows, width, steps))),
        Variant("the shared loop", lambda: inside(loop())),
    ]
    inputs = {"model": f"3 layers of {width} x {width}", "batch": f"{rows} rows, made before", "steps": steps}
    return compare(
        "Loop overhead (schedule, finite check, metrics on one side only)",
        variants,
        inputs=inputs,
        baseline="bare loop",
        rounds=rounds,
        clock=lambda: clock[0],
    )
