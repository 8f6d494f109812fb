"""Learning-rate schedules: a factor of the peak rate, as a pure function of the step.

``step`` counts from 0 and is the index of the next step; ``steps`` is the length of the run. A warm-up of w steps has the factors
1/w, 2/w, ..., 1, so no step has a rate of 0. A decay starts at 1 with the first step after the warm-up. It would reach its
minimum at step ``steps``, so that the last step still changes the weights.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import Field

from omnimask.interfaces import Context
from omnimask.training.config import Share

Length = Annotated[int, Field(ge=0)] | Share
"""Number of steps, or a share of the run."""
Warmup = Annotated[Length, Field(description="warmup steps: a number, or a share of the run (5%)")]
Minimum = Annotated[float, Field(ge=0, le=1, description="factor of the peak rate at the end")]


class Schedule(Protocol):
    """Interface of components of kind ``schedule``."""

    def __call__(self, step: int, steps: int) -> float:
        """Return the factor of the peak rate, in [0, 1]. Raise ``ValueError`` if a run of ``steps`` is too short."""
        ...


class _Decay(ABC):
    """Linear warm-up to the peak, then a decay to ``minimum`` whose shape a subclass defines."""

    smoke: ClassVar[Mapping[str, Any]] = {"warmup": 2}

    def __init__(self, context: Context, *, warmup: Warmup = 0, minimum: Minimum = 0.0) -> None:
        self.warmup = warmup
        self.minimum = minimum

    def __call__(self, step: int, steps: int) -> float:
        warmup = in_steps(self.warmup, steps)
        if step < warmup:
            return warmup_factor(step, warmup, steps)
        return self.minimum + (1 - self.minimum) * self.falling(decay_share(step, warmup, steps))

    @abstractmethod
    def falling(self, share: float) -> float:
        """Return the decay factor for ``share`` of the decay, in [0, 1]: 1 at 0, and 0 at 1."""


class Cosine(_Decay):
    """Half a cosine from the peak to ``minimum`` after a linear warm-up [0].

    [0] Loshchilov, Hutter: SGDR, ICLR 2017 (without restarts).

    Args:
        warmup: steps of the warm-up, or its share of the run.
        minimum: factor at the end.
    """

    def falling(self, share: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * share))


class Linear(_Decay):
    """Linear decay from the peak to ``minimum`` after a linear warm-up.

    Args:
        warmup: steps of the warm-up, or its share of the run.
        minimum: factor at the end.
    """

    def falling(self, share: float) -> float:
        return 1 - share


class Constant:
    """Constant peak rate after a linear warm-up.

    Args:
        warmup: steps of the warm-up, or its share of the run.
    """

    smoke: ClassVar[Mapping[str, Any]] = {"warmup": 2}

    def __init__(self, context: Context, *, warmup: Warmup = 0) -> None:
        self.warmup = warmup

    def __call__(self, step: int, steps: int) -> float:
        return warmup_factor(step, in_steps(self.warmup, steps), steps)


class WarmupStableDecay:
    """Warm-up, a long constant phase, and a short decay at the end [0]. ``one_minus_sqrt`` is the best shape according to [1].

    [0] Hu et al.: MiniCPM, COLM 2024. [1] Hägele et al.: Scaling laws and compute-optimal training beyond fixed training durations,
    NeurIPS 2024.

    Args:
        warmup: steps of the warm-up, or its share of the run.
        decay: last steps, over which the rate falls, or their share of the run.
        shape: of the decay: ``linear``, or ``one_minus_sqrt`` of the completed share of the decay.
        minimum: factor at the end.
    """

    smoke: ClassVar[Mapping[str, Any]] = {"warmup": 2, "decay": 2}

    def __init__(
        self,
        context: Context,
        *,
        decay: Annotated[Length, Field(description="decay steps at the end: a number, or a share of the run (20%)")],
        warmup: Warmup = 0,
        shape: Literal["linear", "one_minus_sqrt"] = "linear",
        minimum: Minimum = 0.0,
    ) -> None:
        self.warmup = warmup
        self.decay = decay
        self.shape = shape
        self.minimum = minimum

    def __call__(self, step: int, steps: int) -> float:
        warmup, decay = in_steps(self.warmup, steps), in_steps(self.decay, steps)
        if warmup + decay > steps:
            raise ValueError(
                f"warmup {self.warmup} and decay {self.decay} exceed the run of {steps} steps; lower them, give them as shares "
                "of the run (warmup: 5%), or raise train.steps"
            )
        if step < steps - decay:
            return warmup_factor(step, warmup, steps)
        share = decay_share(step, steps - decay, steps)
        return 1 - (1 - self.minimum) * (share if self.shape == "linear" else math.sqrt(share))


def in_steps(length: int | str, steps: int) -> int:
    """Convert a length to steps. Shares of the run are rounded: ``5%`` of 2,000 steps are 100."""
    return length if isinstance(length, int) else round(float(length.removesuffix("%")) * steps / 100)


def warmup_factor(step: int, warmup: int, steps: int) -> float:
    """Return the warm-up factor: 1/warmup at step 0, 1 from step ``warmup - 1`` on.

    Raises:
        ValueError: the warm-up is longer than the run.
    """
    if warmup > steps:
        remedy = "lower it, give it as a share of the run (5%), or raise train.steps"
        raise ValueError(f"warmup {warmup} is longer than the run of {steps} steps; {remedy}")
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def decay_share(step: int, start: int, steps: int) -> float:
    """Return the completed share, in [0, 1], of a decay from step ``start`` to ``steps``, before ``step``."""
    return min(1.0, max(0.0, (step - start) / (steps - start))) if steps > start else 1.0
