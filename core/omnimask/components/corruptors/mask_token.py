"""In-place replacement of hidden tokens by a mask token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from omnimask.columns import sequences
from omnimask.components.corruptors.base import JointMaskings, joint_targets, joint_visible, joint_weight, kind_of, level_of
from omnimask.interfaces import CONTENT, Context, Masking, MaskingColumns, Sample, SampleColumns, View
from omnimask.streams import sequence, targets


class MaskToken:
    """The modality's mask token in place of hidden tokens, answered in place (BERT [0] without its 80-10-10; BEiT, SimMIM).

    A discrete modality uses its tokenizer's mask id if there is one, else an appended id. Continuous modalities get a learned
    vector.

    [0] Devlin et al.: BERT, 2018.
    """

    answers_in: ClassVar[Literal["context", "query"]] = "context"
    specials: tuple[str, ...] = ("mask",)
    num_answers = 0

    def __init__(self, context: Context) -> None:
        self.specs = context.specs

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        ids = np.array([self.specs[name].id("mask") if name in sample.tokens else 0 for name in sample.modalities])
        asked = np.flatnonzero(joint_targets(sample, masking))
        table = targets(asked, asked, weight=joint_weight(sample, masking)[asked])
        literal = np.where(joint_visible(sample, masking), CONTENT, ids[sample.modality])
        level, kind = level_of(masking), kind_of(masking)
        return View(sequence(sample, np.arange(len(sample)), literal=literal, targets=table, level=level, kind=kind))

    def corrupt_batch(self, samples: SampleColumns, maskings: Mapping[str, MaskingColumns]) -> View:
        """Corrupt all samples of a micro-batch at once."""
        joint = JointMaskings(samples, maskings)
        ids = np.array([self.specs[name].id("mask") if len(samples.rows.get(name, ())) else 0 for name in samples.modalities])
        literal = np.where(joint.is_visible, CONTENT, ids[samples.modality])
        every = sequences(
            samples, None, samples.lengths, literal=literal, targets=joint.in_place(), kind=joint.kind, level=joint.level
        )
        return View(every)
