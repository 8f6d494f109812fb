"""A corruptor that shows everything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from omnimask.columns import sequences
from omnimask.components.corruptors.base import JointMaskings, joint_targets, joint_weight, kind_of, level_of
from omnimask.interfaces import Context, Masking, MaskingColumns, Sample, SampleColumns, View
from omnimask.streams import sequence, targets


class Keep:
    """All tokens unchanged; targets are answered in place (teachers, controls)."""

    answers_in: ClassVar[Literal["context", "query"]] = "context"
    specials: tuple[str, ...] = ()
    num_answers = 0

    def __init__(self, context: Context) -> None:
        del context

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        asked = np.flatnonzero(joint_targets(sample, masking))
        table = targets(asked, asked, weight=joint_weight(sample, masking)[asked])
        level, kind = level_of(masking), kind_of(masking)
        return View(sequence(sample, np.arange(len(sample)), targets=table, level=level, kind=kind))

    def corrupt_batch(self, samples: SampleColumns, maskings: Mapping[str, MaskingColumns]) -> View:
        """Corrupt all samples of a micro-batch at once."""
        joint = JointMaskings(samples, maskings)
        return View(sequences(samples, None, samples.lengths, targets=joint.in_place(), kind=joint.kind, level=joint.level))
