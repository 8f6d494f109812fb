"""Counters of a run, saved with every checkpoint and restored from it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from omnimask.data.planner import Cursor


@dataclasses.dataclass
class Counters:
    """Counters of one run.

    Args:
        step: optimizer steps taken, skipped ones included; the index of the next step.
        cursor: start of the next step in the stream.
        attempt: 1 for a new run, one more with every resume.
        tokens, samples: trained on so far, by all ranks.
        seconds: spent in steps, without validations and checkpoints.
        skipped_steps: steps without an update, mostly because of a non-finite number.
        failures_in_row: steps with non-finite numbers since the last good one.
        bad_samples: number of times each unreadable sample was met, by key.
        retries: repeated reads, over all ranks.
        loss: of the last step with an update.
        validation_loss: of the last validation.
        validation_scores: of the last validation, by term and name.
        best_step, best_loss, best_scores: step, loss and scores of the validation with the smallest loss.
        validations_without_gain: number of validations since the smallest validation loss.
        scored_samples: held-out samples in every validation; None if unknown.
        spread_at_start: standard deviation of learned vectors before the first step, by term.
        collapsed: terms whose learned vectors have collapsed.
    """

    step: int = 0
    cursor: Cursor = dataclasses.field(default_factory=Cursor)
    attempt: int = 1
    tokens: int = 0
    samples: int = 0
    seconds: float = 0.0
    skipped_steps: int = 0
    failures_in_row: int = 0
    bad_samples: dict[str, int] = dataclasses.field(default_factory=dict[str, int])
    retries: int = 0
    loss: float | None = None
    validation_loss: float | None = None
    best_step: int | None = None
    best_loss: float | None = None
    validation_scores: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict[str, dict[str, float]])
    best_scores: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict[str, dict[str, float]])
    validations_without_gain: int = 0
    scored_samples: int | None = None
    spread_at_start: dict[str, float] = dataclasses.field(default_factory=dict[str, float])
    collapsed: list[str] = dataclasses.field(default_factory=list[str])

    def monitor(self, validation_loss: float) -> bool:
        """Record a validation loss and return whether it is the smallest so far. NaN never is."""
        is_best = validation_loss < (math.inf if self.best_loss is None else self.best_loss)
        self.validations_without_gain = 0 if is_best else self.validations_without_gain + 1
        if is_best:
            self.best_loss, self.best_step, self.best_scores = validation_loss, self.step, self.validation_scores
        return is_best

    def forget_best(self) -> None:
        """Reset the best validation, so the next one becomes the best."""
        self.best_loss, self.best_step, self.best_scores = None, None, {}
        self.validations_without_gain = 0

    def ends_early(self, patience: int | None) -> bool:
        """Return whether ``train.patience`` is exhausted."""
        return patience is not None and self.validations_without_gain >= patience

    def is_over(self, steps: int, patience: int | None) -> bool:
        """Return whether the run has no steps left."""
        return self.step >= steps or self.ends_early(patience)

    def to_dict(self) -> dict[str, Any]:
        """Return the counters as plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Counters:
        return cls(**{**values, "cursor": Cursor(**values["cursor"])})
