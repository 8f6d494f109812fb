"""The cost of validations, by counts alone: no clock decides how much is scored. Imports no torch."""

from __future__ import annotations

import math

from omnimask.training.config import TrainConfig

FORWARD = 1 / 3
"""Work of scoring a token, as a share of the work of training on it: a forward pass without a backward pass."""
FEWEST = 16
"""So many samples are scored whatever they cost: the mean of fewer says little."""


def share_of(percent: str) -> float:
    """``10%`` -> 0.1."""
    return float(percent.removesuffix("%")) / 100


def num_validations(config: TrainConfig) -> int:
    """Validations of the whole run, the one after its last step included."""
    return math.ceil(config.steps / config.validate_every)


def cost_share(config: TrainConfig, tokens: float) -> float:
    """The share of a run's work that validations of ``tokens`` each take, in [0, 1)."""
    validating = FORWARD * tokens * num_validations(config)
    return validating / (validating + config.steps * config.batch_tokens)


def num_scored(config: TrainConfig, num_samples: int, tokens: float) -> int:
    """How many held-out samples a validation scores.

    All of them where that takes no more than ``train.validate_share`` of the run; else the largest power of two that does, so that
    a small change of a recipe leaves the samples as they are, and at least :data:`FEWEST`.

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
