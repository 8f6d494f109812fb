"""Numbers scheduled over a run, as a function of its completed share. Imports no torch.

Three uses: BIOptimus raises the masking ratio in a curriculum; masking-ratio decay (Yang et al., 2022) lowers it linearly or along
a cosine; the teacher decay of data2vec 2.0 grows during the first quarter of the run.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

if TYPE_CHECKING:
    from omnimask.interfaces.draw import Draw
    from omnimask.interfaces.draws import Draws

Share: TypeAlias = Annotated[float, Field(gt=0, le=1)]


class ValueSchedule(BaseModel):
    """``{schedule: linear, from: 0.15, to: 0.3, until: 0.5}``: a number moving from one value to another.

    It stays constant afterwards. In Python the keys ``from`` and ``to`` are ``start`` and ``end``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schedule: Annotated[
        Literal["linear", "cosine", "constant"], Field(description="shape of the curve; constant: a jump at `until`")
    ]
    start: float = Field(validation_alias="from", serialization_alias="from", description="value at the start of the run")
    end: float = Field(validation_alias="to", serialization_alias="to", description="value from `until` on")
    until: Share = Field(1.0, description="share of the run at which `to` is reached")

    def at(self, progress: float) -> float:
        """Return the value at a share of the run, in [0, 1]."""
        share = min(1.0, progress / self.until)
        if self.schedule == "constant":
            share = float(share >= 1.0)
        elif self.schedule == "cosine":
            share = 0.5 - 0.5 * math.cos(math.pi * share)
        return self.start + share * (self.end - self.start)


class RatioSchedule(ValueSchedule):
    """A schedule of a share in (0, 1]."""

    start: Share = Field(validation_alias="from", serialization_alias="from", description="share at the start of the run")
    end: Share = Field(validation_alias="to", serialization_alias="to", description="share from `until` on")


def _form(value: object) -> str:
    return "a schedule" if isinstance(value, dict | RatioSchedule) else "a number"


Ratio: TypeAlias = Annotated[Annotated[Share, Tag("a number")] | Annotated[RatioSchedule, Tag("a schedule")], Discriminator(_form)]
"""A share in (0, 1], or a schedule of one. Validation errors refer to the form of the given value."""


def value_at(value: float | ValueSchedule, draw: Draw) -> float:
    """Return an option's value at a sample's place in the run."""
    return value.at(draw.progress) if isinstance(value, ValueSchedule) else value


def values_at(value: float | ValueSchedule, draws: Draws) -> NDArray[np.float64]:
    """Return an option's value at the place of each of B samples in the run, (B,)."""
    if isinstance(value, ValueSchedule):
        return np.array([value.at(progress) for progress in draws.progress.tolist()], np.float64)
    return np.full(len(draws), value, np.float64)
