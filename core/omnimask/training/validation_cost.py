"""Cost of validations, computed from counts alone: the number of scored samples does not depend on timing. Imports no torch."""

from __future__ import annotations

import math

from omnimask.training.config import TrainConfig

FORWARD = 1 / 3
"""Relative cost of scoring a token compared with training on it: a forward pass without a backward pass."""
FEWEST = 16
"""Minimum number of scored samples, regardless of cost. The mean of fewer is too noisy."""


def share_of(percent: str) -> float:
    """Convert a percentage to a share: ``10%`` -> 0.1."""
    return float(percent.removesuffix("%")) / 100


def num_validations(config: TrainConfig) -> int:
    """Return the number of validations in the run, including the one after its last step."""
    return math.ceil(config.steps / config.validate_every)


def cost_share(config: TrainConfig, tokens: float) -> float:
    """Return the share of a run's work spent on validations of ``tokens`` each, in [0, 1)."""
    validating = FORWARD * tokens * num_validations(config)
    return validating / (validating + config.steps * config.batch_tokens)


def num_scored(config: TrainConfig, num_samples: int, tokens: float) -> int:
    """Return the number of held-out samples to score per validation.

    All are scored if this takes at most ``train.validate_share`` of the run. Otherwise the number is the largest power of two
    within this share, so that a small change of a recipe keeps the same samples, and at least :data:`FEWEST`.

    Args:
        config: of the run.
        num_samples: held-out samples.
        tokens: of all of them together.
    """
    share = share_of(config.validate_share)
    if share == 1 or cost_share(config, tokens) <= share:
        return num_samples
    affordable = share / (1 - share) * config.steps * config.batch_tokens / (FORWARD * num_validations(config))
    fitting = int(num_samples * affordable / tokens)
    return min(num_samples, max(FEWEST, 1 << (fitting.bit_length() - 1) if fitting else 0))
