"""``summary.json``: final state of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from omnimask.training.checkpoints.contents import TrainingState
from omnimask.training.checkpoints.directory import Checkpoints
from omnimask.training.config import TrainConfig


def summarise(
    state: TrainingState,
    config: TrainConfig,
    status: str,
    checkpoints: Checkpoints,
    baselines: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """Return the contents of ``summary.json``.

    ``status`` is finished, interrupted or stopped. Unknown and non-finite values are null.
    """
    progress, paths, best = state.progress, checkpoints.paths(), checkpoints.best()
    return {
        "status": status,
        "step": progress.step,
        "steps": config.steps,
        "attempt": progress.attempt,
        "loss": progress.loss,
        "validation_loss": _finite(progress.validation_loss),
        "best_validation_loss": progress.best_loss,
        "best_step": progress.best_step,
        "validations_without_gain": progress.validations_without_gain,
        "ended_early": status == "finished" and progress.step < config.steps,
        "validation_scores": _all_finite(progress.validation_scores),
        "best_validation_scores": _all_finite(progress.best_scores),
        "baseline_scores": _all_finite(baselines),
        "best_checkpoint": None if best is None else best.name,
        "last_checkpoint": paths[-1].name if paths else None,
        "parameters": sum(p.numel() for p in state.model.parameters()),
        "tokens": progress.tokens,
        "samples": progress.samples,
        "seconds": progress.seconds,
        "tokens_per_second": progress.tokens / progress.seconds if progress.seconds > 0 else 0.0,
        "skipped_steps": progress.skipped_steps,
        "bad_samples": dict(progress.bad_samples),
        "retries": progress.retries,
    }


def _all_finite(scores: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    return {term: {name: _finite(value) for name, value in found.items()} for term, found in scores.items()}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
