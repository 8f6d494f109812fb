"""A sequence of corruptors over the course of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from omnimask.component import Component
from omnimask.components.corruptors.several import Several
from omnimask.components.maskers.scheduled import Stages, Until
from omnimask.interfaces import Context, Corruptor, Masking, MaskingColumns, Sample, SampleColumns, View


class ScheduledCorruptor(Several):
    """Sequence of corruptors, each up to a share of the run (the curriculum of BIOptimus [0]).

    Validation is corrupted as at the beginning of the run.

    Args:
        corruptors: in order; all answer in the same stream.
        until: ascending shares of the run at which each corruptor except the last is replaced by the next.

    [0] Pavlova, Makhlouf: BIOptimus: Pre-training an Optimal Biomedical Language Model with Curriculum Learning for Named Entity
    Recognition, 2023.
    """

    def __init__(
        self,
        context: Context,
        *,
        corruptors: Annotated[list[Component[Corruptor]], Field(min_length=1, description="in order")],
        until: Annotated[list[Until], Field(description="shares of the run at which each phase but the last ends")],
    ) -> None:
        self.stages = Stages(len(corruptors), until, "corruptors")
        super().__init__(context, corruptors)

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        return self.corrupt(self.stages.at(sample.draw), sample, masking)

    def corrupt_batch(self, samples: SampleColumns, maskings: Mapping[str, MaskingColumns]) -> View | None:
        """Corrupt all samples of a micro-batch at once."""
        return self.corrupt_each(self.stages.each(samples.draws), samples, maskings)
