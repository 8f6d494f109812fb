"""Tokens of a micro-batch: a budget by device type, divided by the memory that a token costs the recipe's networks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from omnimask.data.pipeline import Pipeline
from omnimask.data.planner import Place
from omnimask.data.training_indices import TrainingIndices
from omnimask.data.validation_split import spread
from omnimask.errors import RunStopped, UserError
from omnimask.interfaces import MaskedBatch, Sample
from omnimask.network.model import MaskedModel
from omnimask.network.token_cost import slots_per_token, views_with_gradients

AUTO_MICRO_BATCH: Mapping[str, int] = {"cpu": 16_384, "cuda": 65_536, "mps": 16_384}
"""Tokens per forward pass for ``auto`` in a recipe, by device type, if a token costs one slot of the encoder."""

_SAMPLES = 8
"""Samples, or groups of samples, to measure."""
_TRIED = 64
"""Maximum number of samples, or groups, to try until one is readable."""


@dataclass(frozen=True)
class TokenCost:
    """Memory that a token, counted before masking, costs in training.

    Attributes:
        slots: slots of the backbone's encoder that cost the same, at least 1, with two significant digits. Exactly 1 if networks
            compute a single view with gradients that masks every sample once, whatever its number of slots.
        views: names of the views computed with gradients.
    """

    slots: float
    views: tuple[str, ...]

    def divided(self, budget: int) -> int:
        """Return the tokens, at least 1, that cost the memory of ``budget`` slots."""
        return max(1, int(budget / self.slots))


def slot_budget(device: str) -> int:
    """Return the budget of slots per forward pass on a device type."""
    return AUTO_MICRO_BATCH.get(device, AUTO_MICRO_BATCH["cpu"])


def costs_more(model: MaskedModel, pipeline: Pipeline) -> bool:
    """Return whether a token may cost more than a slot: several views are computed with gradients, or one that repeats."""
    views = views_with_gradients(model)
    return len(views) > 1 or any(pipeline.views[name].repeat > 1 for name in views)


def measure_token_cost(model: MaskedModel, pipeline: Pipeline, indices: TrainingIndices, steps: int) -> TokenCost:
    """Measure the memory cost of a token on evenly spaced samples, masked as at the beginning, middle and end of the run.

    Reads and masks a few samples if several views are computed with gradients, or one that repeats, and nothing otherwise. The
    result is the same every time, on all ranks and devices.

    Args:
        model: on the host; not run.
        pipeline: of the training samples.
        indices: data set indices of the training samples.
        steps: of the run.

    Raises:
        UserError: no sample is readable, one cannot be masked, or the views do not fit the networks.
    """
    views = views_with_gradients(model)
    if not costs_more(model, pipeline):
        return TokenCost(1.0, views)
    samples = _samples(pipeline, indices)
    try:
        batches = [_packed(pipeline, samples, progress) for progress in (0.0, 0.5, (steps - 1) / steps)]
        slots = max(slots_per_token(model, batch) for batch in batches)
    except RunStopped as error:
        raise UserError(str(error)) from error
    except ValueError as error:
        raise UserError(f"the parts of the model do not fit together: {error}") from error
    return TokenCost(rounded_up(max(1.0, slots)), views)


def rounded_up(number: float) -> float:
    """Round a number of at least 1 up to two significant digits. Rounding errors of floats, below 1e-5, are ignored."""
    unit = 10.0 ** (math.floor(math.log10(number)) - 1)
    return round(math.ceil(number / unit - 1e-4) * unit, 6)


def _samples(pipeline: Pipeline, indices: TrainingIndices) -> list[Sample]:
    size = pipeline.grouping.size
    firsts = spread(np.arange(0, len(indices), size), _TRIED)
    stride = max(1, len(firsts) // _SAMPLES)
    for offset in range(stride):  # each part is evenly spaced; one of them is enough unless all of its samples are unreadable
        positions = [p for first in firsts[offset::stride].tolist() for p in range(first, min(first + size, len(indices)))]
        samples, _ = pipeline.samples([Place(0, position, int(indices[position]), 0.0) for position in positions])
        if samples:
            return samples
    raise UserError(
        f"data: none of {len(firsts)} evenly spaced training samples is readable, so train.micro_batch_tokens: auto cannot be "
        "measured; set a number"
    )


def _packed(pipeline: Pipeline, samples: list[Sample], progress: float) -> MaskedBatch:
    drawn = [dataclasses.replace(sample, draw=dataclasses.replace(sample.draw, progress=progress)) for sample in samples]
    return pipeline.pack(drawn)
