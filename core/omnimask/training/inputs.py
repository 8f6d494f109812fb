"""Inputs of a trainer besides the model and the recipe's ``train:`` section."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import torch

from omnimask.data.config import BadSamples
from omnimask.data.loader import LoadedStep
from omnimask.data.planner import Cursor
from omnimask.interfaces import MaskedBatch
from omnimask.registry import Registry
from omnimask.training.checkpoints.run_directory import RunDirectory
from omnimask.training.devices.ranks import Ranks, current
from omnimask.training.validation import Scored

Steps: TypeAlias = Callable[[Cursor, int], Iterable[LoadedStep]]
ScoresByTerm: TypeAlias = Mapping[str, Mapping[str, float]]
"""Scores by term and name."""


@dataclass(frozen=True)
class TrainingData:
    """This rank's share of the training steps and of the held-out batches.

    Attributes:
        steps: ``(cursor, first step) -> LoadedSteps`` up to the end of the run, the same for the same arguments.
        validation: returns the same held-out batches at every call; None for a run without validation.
        num_samples: size of the training set, for the share in ``max_bad``.
        max_bad: limit of unreadable samples.
        left_out: reasons by key of unreadable held-out samples; validations add to it.
        baselines: scores of predictions without a model; called once, after the first validation with scores.
        scored: number of held-out samples in ``validation``, and of all; None if unknown.
        slots_per_token: returns the memory that a token of a batch costs, in slots of the encoder, for the message of a step that
            runs out of memory; None for one slot.
    """

    steps: Steps
    validation: Callable[[], Iterable[MaskedBatch]] | None = None
    num_samples: int | None = None
    max_bad: BadSamples = field(default_factory=BadSamples)
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])
    baselines: Callable[[], ScoresByTerm] | None = None
    scored: Scored | None = None
    slots_per_token: Callable[[MaskedBatch], float] | None = None


@dataclass(frozen=True)
class RunContext:
    """Environment of a run: directory, device, seed and processes.

    Attributes:
        directory: of the run.
        device: of the model.
        seed: seeds torch's generators at every step.
        ranks: processes that train together. The default is the joined processes, or this process alone.
        plugins: versions by distribution, recorded with every checkpoint.
        notes: files by name, kept in every checkpoint.
        show: whether progress is displayed on stderr.
        registry: source of the run's observers. The default is the installed plugins.
    """

    directory: RunDirectory
    device: torch.device
    seed: int = 0
    ranks: Ranks = field(default_factory=current)
    plugins: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    show: bool = True
    registry: Registry | None = None
