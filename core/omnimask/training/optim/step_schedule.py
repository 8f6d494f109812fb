"""Step decay of the learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from omnimask.interfaces import Context
from omnimask.training.optim.schedules import Warmup, in_steps, warmup_factor


class Step:
    """Linear warm-up to the peak, then a multiplication by ``factor`` at every milestone (SimMIM's reference implementation).

    Args:
        milestones: steps, in rising order.
        factor: factor of the rate at every milestone.
        warmup: steps of the warm-up, or its share of the run.
    """

    smoke: ClassVar[Mapping[str, Any]] = {"warmup": 2, "milestones": [6]}

    def __init__(
        self,
        context: Context,
        *,
        milestones: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(description="steps at which the rate drops")],
        factor: Annotated[float, Field(gt=0, lt=1, description="factor of the rate at every milestone")] = 0.1,
        warmup: Warmup = 0,
    ) -> None:
        if list(milestones) != sorted(set(milestones)) or (milestones and isinstance(warmup, int) and milestones[0] < warmup):
            raise ValueError(f"milestones {list(milestones)} must be increasing, and after the warmup of {warmup} steps")
        self.milestones, self.factor, self.warmup = milestones, factor, warmup

    def __call__(self, step: int, steps: int) -> float:
        return warmup_factor(step, in_steps(self.warmup, steps), steps) * self.factor ** sum(
            step >= milestone for milestone in self.milestones
        )
