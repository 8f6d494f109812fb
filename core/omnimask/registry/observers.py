"""Observers of a training run, and their arguments. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Skipped = Literal["non-finite loss", "non-finite gradient", "no readable sample", "nothing to answer"]
Status = Literal["finished", "interrupted", "stopped", "failed"]


class Progress(Protocol):
    """Counters of a run, read-only and live.

    Attributes:
        step: optimizer steps taken, including skipped ones.
        attempt: 1 for a new run, one more with every resume.
        tokens, samples: trained on so far, over all ranks.
        seconds: spent in steps, without validations and checkpoints.
        skipped_steps: steps without an update.
        retries: repeated reads, over all ranks.
        loss: of the last step with an update.
        validation_loss, validation_scores: of the last validation; scores by term and name.
        best_step, best_loss: step and value of the smallest validation loss.
    """

    @property
    def step(self) -> int: ...
    @property
    def attempt(self) -> int: ...
    @property
    def tokens(self) -> int: ...
    @property
    def samples(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def skipped_steps(self) -> int: ...
    @property
    def retries(self) -> int: ...
    @property
    def loss(self) -> float | None: ...
    @property
    def validation_loss(self) -> float | None: ...
    @property
    def validation_scores(self) -> Mapping[str, Mapping[str, float]]: ...
    @property
    def best_step(self) -> int | None: ...
    @property
    def best_loss(self) -> float | None: ...


@dataclass(frozen=True)
class RunInfo:
    """A run, as its observers see it.

    Attributes:
        directory: folder of the run.
        config: the recipe's ``train:`` section, one attribute per key (``config.steps``).
        progress: live counters.
        model: on ``device``; changing it changes the training.
        optimizer: with its final parameter groups.
        device: device of the model.
        rank: rank of this process; observers run on rank 0 only.
        show: whether progress is displayed on stderr.
    """

    directory: Path
    config: Any
    progress: Progress
    model: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    rank: int = 0
    show: bool = True


@dataclass(frozen=True)
class StepResult:
    """Outcome of one optimizer step over all ranks.

    Attributes:
        loss: weighted sum of the terms; NaN if nothing was computed.
        grad_norm: before clipping.
        lr: learning rate of the first parameter group, without its ``lr_scale``.
        tokens, samples: in the step.
        terms: () each, unweighted; they stay on the device until they are logged.
        skipped: reason for a missing update; None if there was one.
        is_failure: nothing was asked or a number was not finite, except while an fp16 loss scale is still being found.
        masking: mask ratios and mask kinds of the step, as logged.
    """

    loss: float
    grad_norm: float
    lr: float
    tokens: int
    samples: int
    terms: Mapping[str, Tensor] = field(default_factory=dict)  # pyright: ignore[reportUnknownVariableType]
    skipped: Skipped | None = None
    is_failure: bool = False
    masking: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class LearnedSpread:
    """Measurements of a term's learned vectors over a sample of the held-out targets; NaN below two targets.

    Attributes:
        source: name of the pass that computes the answers.
        rows: number of targets in the sample.
        width: D of the answers.
        rankme: effective rank of the answers, from 1 to the smaller of ``rows`` and ``width``.
        spread: standard deviation of the answers over targets, in [0, 1]: each number's, divided by its root mean square; the
            median over the width.
        prediction_spread: the same of the predictions.
        remedy: what to change in a recipe if the answers collapse.
    """

    source: str
    rows: int
    width: int
    rankme: float
    spread: float
    prediction_spread: float
    remedy: str = ""

    @property
    def scores(self) -> Mapping[str, float]:
        """The measurements, by the names that metrics show."""
        return {"rankme": self.rankme, "spread": self.spread, "prediction_spread": self.prediction_spread}


@dataclass(frozen=True)
class Validation:
    """Outcome of one validation: the weighted ``loss``, its ``terms``, and ``scores`` by term and name (means over the targets).

    ``learned`` contains the measurements of learned vectors by term; their numbers are among the scores, too.
    """

    loss: float
    terms: Mapping[str, float]
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    learned: Mapping[str, LearnedSpread] = field(default_factory=dict[str, LearnedSpread])


class Observer:
    """Observer of one attempt of a run. Override the methods you need.

    Plugins return observers from the hook ``omnimask_observers``. The loop calls them by keyword and waits for them. An exception
    stops the run and names the plugin; checkpoints stay intact.
    """

    def before_step(self, *, step: int) -> None:
        """Called before a step is loaded; ``step`` counts from 0."""

    def metrics(self, *, result: StepResult) -> Mapping[str, float]:
        """Return additional metrics for a logged step, by name. They join the step's line in ``metrics.jsonl``."""
        return {}

    def after_step(self, *, result: StepResult, seconds: float, line: Mapping[str, Any] | None) -> None:
        """Called after a step was taken and counted.

        Args:
            result: result of the step.
            seconds: wall-clock time of the step, including the wait for the loader.
            line: line written to ``metrics.jsonl``; None for an unlogged step (``train.log_every``).
        """

    def validated(self, *, result: Validation, baselines: Mapping[str, Mapping[str, float]], line: Mapping[str, Any]) -> None:
        """Called after a validation.

        Args:
            result: result of the validation.
            baselines: scores of predictions without a model, by term and name, if there are any.
            line: line written to ``metrics.jsonl``.
        """

    def checkpoint_saved(self, *, path: Path, is_best: bool) -> None:
        """Called when a checkpoint is complete on disk and old ones are removed.

        Args:
            path: folder of the checkpoint.
            is_best: whether it has the smallest validation loss so far.
        """

    def run_end(self, *, status: Status) -> None:
        """Called at the end of an attempt, for every observer, even if another one fails.

        ``status`` is ``finished`` (``summary.json`` is written), ``interrupted`` by a signal or deadline, ``stopped`` for a
        reported reason, or ``failed``.
        """


EVENTS = ("before_step", "metrics", "after_step", "validated", "checkpoint_saved", "run_end")
"""Names of an observer's methods."""
