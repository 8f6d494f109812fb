"""Warnings about valid but probably unintended runs: too few samples, too many epochs, a warm-up longer than half of the run."""

from __future__ import annotations

from collections.abc import Iterator

from omnimask.builder.build import Built
from omnimask.data.training_indices import tokens_in
from omnimask.training.optim.schedules import in_steps
from omnimask.training.validation_cost import cost_share, share_of

FEWEST_SAMPLES = 20
MOST_EPOCHS = 1_000
MOST_VALIDATING = 0.25
"""Limits beyond which a run is unusual. The last one is the share of its work spent on validations."""


def oddities(built: Built) -> Iterator[str]:
    """Yield a sentence for each warning, with the key to change."""
    train, number = built.recipe.train, len(built.train_indices)
    if number < FEWEST_SAMPLES:
        yield f"only {number} training samples; the model will memorize them"
    counts = built.counts
    tokens = number * counts if isinstance(counts, int) else tokens_in(counts, built.train_indices)[1]
    epochs = train.steps * train.batch_tokens / tokens if tokens else 0.0
    if epochs > MOST_EPOCHS:
        yield (
            f"the run makes {epochs:,.0f} epochs over {number:,} samples ({train.steps:,} steps of {train.batch_tokens:,} "
            "tokens); lower train.steps or train.batch_tokens if that is not intended"
        )
    warmup = train.schedule.options.get("warmup") if train.schedule is not None else None
    if isinstance(warmup, (int, str)) and (steps := in_steps(warmup, train.steps)) > train.steps / 2:
        yield (
            f"the learning rate warms up for {steps:,} of {train.steps:,} steps (train.schedule.warmup: "
            f"{warmup}); a share of the run (5%) scales with its length"
        )
    yield from _validating(built)


def _validating(built: Built) -> Iterator[str]:
    train, scored = built.recipe.train, built.scored
    share = cost_share(train, built.validation_tokens(scored.samples)) if scored.held_out else 0.0
    if share > max(MOST_VALIDATING, share_of(train.validate_share)):
        yield (
            f"validations are about {100 * share:.0f} % of the run's work (train.validate_every: {train.validate_every}, of "
            f"{scored}); raise train.validate_every"
        )
