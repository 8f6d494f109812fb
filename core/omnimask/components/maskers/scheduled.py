"""A sequence of maskers over the course of a run."""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from itertools import pairwise
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.columns import masked_by
from omnimask.component import Component
from omnimask.interfaces import Context, Draw, Draws, Masker, Masking, MaskingColumns, TokenColumns, Tokens

Until = Annotated[float, Field(gt=0, lt=1)]


class ScheduledMasker:
    """Sequence of maskers, each up to a share of the run (the curriculum of BIOptimus [0]).

    The index of the masker is the masking's ``kind``. For gradual changes, give the maskers' own ratios a schedule. Validation is
    masked as at the beginning of the run.

    Args:
        maskers: in order.
        until: ascending shares of the run at which each masker except the last is replaced by the next.

    [0] Pavlova, Makhlouf: BIOptimus: Pre-training an Optimal Biomedical Language Model with Curriculum Learning for Named Entity
    Recognition, 2023.
    """

    def __init__(
        self,
        context: Context,
        *,
        maskers: Annotated[list[Component[Masker]], Field(min_length=1, description="in order")],
        until: Annotated[list[Until], Field(description="shares of the run at which each phase but the last ends")],
    ) -> None:
        self.stages = Stages(len(maskers), until, "maskers")
        self.maskers = [masker(context) for masker in maskers]

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
        stage = self.stages.at(draw)
        return dataclasses.replace(self.maskers[stage](tokens, draw.at(stage)), kind=stage)

    def mask_batch(self, tokens: TokenColumns) -> MaskingColumns | None:
        """Mask all samples of a micro-batch at once."""
        return masked_by(self.maskers, self.stages.each(tokens.draws), tokens)


class Stages:
    """Stages of a run, each up to a share of it.

    Args:
        count: number of stages.
        until: ascending shares of the run, in (0, 1), at which each stage except the last ends.
        what: the components of the stages, for messages.

    Raises:
        ValueError: ``until`` has another number of shares, or is not ascending.
    """

    def __init__(self, count: int, until: list[float], what: str) -> None:
        if len(until) != count - 1:
            raise ValueError(f"{count} {what} need {count - 1} shares in until (the last phase lasts to the end), got {len(until)}")
        if any(left >= right for left, right in pairwise(until)):
            raise ValueError(f"until must be increasing, got {until}")
        self.until = until

    def at(self, draw: Draw) -> int:
        """Return the index of the stage to which a sample belongs."""
        return bisect_right(self.until, draw.progress)

    def each(self, draws: Draws) -> NDArray[np.int64]:
        """Return the index of the stage of every sample, (B,)."""
        return np.searchsorted(np.array(self.until), draws.progress, side="right")
