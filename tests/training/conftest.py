"""A tiny model and a stream of ragged samples, in the shapes that the loop expects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from omnimask.data.loader import BadSample, LoadedStep
from omnimask.data.planner import Cursor
from omnimask.interfaces import Context
from omnimask.training.checkpoints.run_directory import RunDirectory
from omnimask.training.config import TrainConfig
from omnimask.training.inputs import RunContext, TrainingData
from omnimask.training.loop import Trainer
from omnimask.training.optim.optimizers import AdamW
from omnimask.training.optim.schedules import Cosine

NUM_SAMPLES = 20
PER_STEP = 8


@dataclass(frozen=True)
class Batch:
    """``inputs`` (tokens, 4) and ``answers`` (tokens,) of some samples; only the first half of a sample's tokens is answered."""

    inputs: Tensor
    answers: Tensor
    is_target: Tensor
    num_samples: int
    views: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_tokens(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class Output:
    loss: Tensor
    terms: Mapping[str, Tensor] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class TinyModel(nn.Module):
    """Two terms with different denominators, dropout (torch's generator), and two tied matrices."""

    compile_me = True

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 1)
        self.dropout = nn.Dropout(dropout)
        self.poison: Callable[[Tensor], Tensor] | None = None

    def counts(self, batch: Batch) -> dict[str, float]:
        return {"values": float(batch.is_target.sum()), "size": float(batch.num_tokens)}

    def forward(self, batch: Batch, denominators: Mapping[str, float], *, is_scored: bool = False) -> Output:
        hidden = self.dropout(self.norm(torch.relu(self.second(torch.relu(self.first(batch.inputs))))))
        error = (self.head(hidden).squeeze(1) - batch.answers).square()[batch.is_target]
        terms = {"values": error.sum() / denominators["values"], "size": hidden.square().sum() / denominators["size"]}
        loss = terms["values"] + 0.1 * terms["size"]
        if self.poison is not None:
            loss = self.poison(loss)
        return Output(loss, {name: term.detach() for name, term in terms.items()})


def sample(index: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(index)
    inputs = torch.randn(1 + index % 5, 4, generator=generator)
    return inputs, inputs.sum(1).sin(), torch.arange(len(inputs)) <= len(inputs) // 2


def make_batch(indices: Sequence[int]) -> Batch:
    parts = [sample(index) for index in indices]
    return Batch(*(torch.cat(column) for column in zip(*parts, strict=True)), num_samples=len(indices))


@dataclass
class Stream:
    """The steps of a run, cut into ``micro`` micro-batches each; ``bad`` samples by step; ``before`` is called with each step."""

    steps: int
    micro: int = 2
    bad: Mapping[int, tuple[BadSample, ...]] = field(default_factory=dict)
    before: Callable[[int], None] | None = None
    is_closed: bool = False

    def __call__(self, cursor: Cursor, first: int) -> Iterator[LoadedStep]:
        place = cursor.epoch * NUM_SAMPLES + cursor.position
        try:
            for step in range(first, self.steps):
                if self.before is not None:
                    self.before(step)
                indices = [(place + i) % NUM_SAMPLES for i in range(PER_STEP)]
                size = PER_STEP // self.micro
                batches: list[Any] = [make_batch(indices[i : i + size]) for i in range(0, PER_STEP, size)]
                place += PER_STEP
                yield LoadedStep(step, batches, self.bad.get(step, ()), Cursor(*divmod(place, NUM_SAMPLES)))
        finally:
            self.is_closed = True


def validation() -> Iterator[Any]:
    yield make_batch(range(100, 103))
    yield make_batch(range(103, 108))


@dataclass
class Runs:
    """Makes trainers in temporary run directories."""

    root: Path

    def config(self, **options: Any) -> TrainConfig:
        defaults: dict[str, Any] = {
            "steps": 12,
            "batch_tokens": 100,
            "optimizer": lambda context: AdamW(context, lr=1e-2, weight_decay=0.1),
            "schedule": lambda context: Cosine(context, warmup=3),
            "clip": 1.0,
            "ema": 0.9,
            "log_every": 1,
            "validate_every": 4,
            "checkpoint_every": 3,
        }
        return TrainConfig(**{**defaults, **options})

    def trainer(
        self,
        name: str = "run",
        *,
        stream: Stream | None = None,
        model: nn.Module | None = None,
        device: str = "cpu",
        trainer_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Trainer:
        config = self.config(**options)
        torch.manual_seed(0)
        given = {"show": False, **(trainer_options or {})}
        of_data = {name: given.pop(name) for name in list(given) if name in TrainingData.__dataclass_fields__}
        data = TrainingData(stream or Stream(config.steps), validation, **of_data)
        run = RunContext(RunDirectory(self.root / name), torch.device(device), 7, **given)
        return Trainer(model or TinyModel(), data, config, run)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


@pytest.fixture
def tiny() -> type[TinyModel]:
    return TinyModel


@pytest.fixture
def stream() -> type[Stream]:
    return Stream


@pytest.fixture
def batch_of() -> Callable[[Sequence[int]], Batch]:
    return make_batch


@pytest.fixture
def context() -> Context:
    return Context()


@pytest.fixture
def fingerprint() -> Callable[[Trainer], dict[str, Any]]:
    """Everything that two equal runs must share, bit for bit."""

    def take(trainer: Trainer) -> dict[str, Any]:
        optimizer = trainer.state.optimizer.state_dict()["state"]
        moments = {(i, name): value.tolist() for i, state in optimizer.items() for name, value in state.items()}
        ema = trainer.state.ema
        return {
            "weights": {name: tensor.tolist() for name, tensor in trainer.state.model.state_dict().items()},
            "moments": moments,
            "ema": {} if ema is None else {name: tensor.tolist() for name, tensor in ema.averages.items()},
            "cursor": trainer.progress.cursor,
        }

    return take


@pytest.fixture
def lines() -> Callable[[Path], list[dict[str, Any]]]:
    """The lines of a run's metrics without what depends on the clock and the attempt."""
    from omnimask.training.monitoring.jsonl_writer import read_metrics

    timed = {"seconds", "total_seconds", "tokens_per_second", "attempt"}

    def read(run: Path) -> list[dict[str, Any]]:
        return [{k: v for k, v in line.items() if k not in timed} for line in read_metrics(run / "metrics.jsonl")]

    return read
