"""Metrics of a run. One table writes, documents and reserves the keys of ``metrics.jsonl``. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omnimask.registry.observers import Progress, StepResult, Validation


@dataclass(frozen=True)
class LoggedStep:
    """Input of a step's line. ``tokens_per_second`` is the throughput since the previous line."""

    result: StepResult
    progress: Progress
    seconds: float
    tokens_per_second: float
    bad_samples: int


@dataclass(frozen=True)
class Metric:
    """One key of a step's line.

    Args:
        name: the key; not allowed as the name of a loss term.
        meaning: one phrase for the reference.
        value: computes it.
    """

    name: str
    meaning: str
    value: Callable[[LoggedStep], Any]


POSITION = (
    Metric("step", "optimizer steps, including this one", lambda it: it.progress.step),
    Metric("attempt", "1 for a new run, increased by every resume", lambda it: it.progress.attempt),
)
STEP = (
    Metric("loss", "weighted sum of the loss terms", lambda it: it.result.loss),
    Metric("lr", "learning rate of the first parameter group", lambda it: it.result.lr),
    Metric("grad_norm", "gradient norm before clipping", lambda it: it.result.grad_norm),
    Metric("tokens", "tokens of the step, over all ranks", lambda it: it.result.tokens),
    Metric("samples", "samples of the step, over all ranks", lambda it: it.result.samples),
    Metric("seconds", "wall-clock time of the step", lambda it: it.seconds),
    Metric("tokens_per_second", "throughput since the previous line", lambda it: it.tokens_per_second),
    Metric("total_tokens", "tokens of the run so far", lambda it: it.progress.tokens),
    Metric("total_samples", "samples of the run so far", lambda it: it.progress.samples),
    Metric("total_seconds", "time in steps so far, without validations and checkpoints", lambda it: it.progress.seconds),
    Metric("skipped_steps", "steps of the run without an update", lambda it: it.progress.skipped_steps),
    Metric("bad_samples", "distinct unreadable samples of the run so far", lambda it: it.bad_samples),
    Metric("retries", "repeated reads of the run so far", lambda it: it.progress.retries),
)
FAMILIES = {
    "<term>": "each loss term, divided by its number of targets",
    "mask_ratio": "share of masked tokens among those that can be masked; `mask_ratio.<modality>` where there are "
    "several, `mask_ratio.<view>` for views other than `main`",
    "mask_kind.<number>": "share of samples masked by this branch or phase of a masker, in steps with any other than number 0",
}
"""Keys of a step's line whose names depend on the recipe. Observers of plugins can add more."""
VALIDATION = {
    "validation_<term>": "each loss term on the held-out batches",
    "validation_<term>_<score>": "each score of a term, for targets with scores (`accuracy`, `top5`, `cross_entropy`)",
    "validation_<term>_rankme": "effective rank of learned answers (target `features`, predictor `contrast`), over at most 1,024 "
    "targets",
    "validation_<term>_spread": "standard deviation of these answers over targets, as a share of their size, from 0 to 1",
    "validation_<term>_prediction_spread": "the same of their predictions",
    "validation_loss": "weighted sum of the terms",
    "seconds": "wall-clock time of the validation",
}
"""Keys of a validation's line besides those of ``POSITION``."""

_NAMES = frozenset(metric.name for metric in (*POSITION, *STEP)) | {"mask_ratio"}
_PREFIXES = ("validation_", "mask_ratio.", "mask_kind.")


def is_reserved(name: str) -> bool:
    """Return whether ``metrics.jsonl`` reserves this key, so a loss term cannot use it."""
    return name in _NAMES or name.startswith(_PREFIXES)


def step_line(logged: LoggedStep) -> dict[str, Any]:
    """Return the line of a step."""
    terms = {name: term.item() for name, term in logged.result.terms.items()}
    return {**_values(POSITION, logged), **terms, **_values(STEP, logged), **logged.result.masking}


def validation_line(found: Validation, progress: Progress, seconds: float) -> dict[str, Any]:
    """Return the line of a validation."""
    scores = {f"validation_{term}_{name}": value for term, several in found.scores.items() for name, value in several.items()}
    terms = {f"validation_{name}": value for name, value in found.terms.items()}
    head = {"step": progress.step, "attempt": progress.attempt}
    return {**head, **terms, **scores, "validation_loss": found.loss, "seconds": seconds}


def _values(metrics: tuple[Metric, ...], logged: LoggedStep) -> Mapping[str, Any]:
    return {metric.name: metric.value(logged) for metric in metrics}
