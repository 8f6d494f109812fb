"""Reconstruction of the whole sample from a sketch of its visible tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from omnimask.components.corruptors.base import (
    JointMaskings,
    all_but_special,
    check_ids,
    check_one_axis,
    joint_weight,
    only_modality,
    specials_joint,
)
from omnimask.components.corruptors.shortened import (
    context_of,
    contexts_of,
    gaps,
    only_samples,
    shorten,
    shorten_each,
    written,
    written_each,
)
from omnimask.interfaces import Context, Masking, MaskingColumns, Sample, SampleColumns, View


class Sketch:
    """One mask token in place of every gap between visible tokens; the answer is the whole sample (GENIUS [0], BART [1]).

    Serves one modality with ids. A gap is a run of hidden tokens, independent of units. The query stream is a causal decoder's
    input, shifted right behind ``start``. Its targets are all tokens in order, visible and hidden, independent of the masker's
    targets, followed by ``end``. Special tokens that frame a sample are read but not written.

    Args:
        renumber: positions count the slots of the shortened input (and of the answer). Otherwise tokens keep their positions, a
            mask token takes that of its gap's first token, an answer's slot that of the token it shows, and ``start`` has none.

    [0] Guo et al.: GENIUS: Sketch-based Language Model Pre-training via Extreme and Selective Masking for Text Generation and
    Augmentation, 2022. [1] Lewis et al.: BART, 2019, section 2.2.
    """

    answers_in: ClassVar[Literal["context", "query"]] = "query"
    specials: tuple[str, ...] = ("end", "start", "mask")
    num_answers = 1

    def __init__(
        self,
        context: Context,
        *,
        renumber: Annotated[bool, Field(description="number positions by slots instead of tokens")] = True,
    ) -> None:
        check_ids(context, "sketch")
        if renumber:
            check_one_axis(context)
        self.specs, self.renumber = context.specs, renumber

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        name = only_modality(sample, "sketch")
        spec = self.specs[name]
        short = shorten(gaps(~np.asarray(masking[name].is_visible, bool)), "sketch")
        context = context_of(sample, masking, short, np.full(int(short.is_unit.sum()), spec.id("mask")), renumber=self.renumber)
        asked = np.flatnonzero(all_but_special(sample))
        of, literal = np.append(asked, -1), np.append(np.full(len(asked), -1), spec.id("end"))
        place = None if self.renumber else np.concatenate([[-1], asked])
        weight = np.append(joint_weight(sample, masking)[asked], np.float32(1))
        number = sample.modalities.index(name)
        return View(context, written(sample, masking, number, of, literal, spec.id("start"), place=place, weight=weight))

    def corrupt_batch(self, samples: SampleColumns, maskings: Mapping[str, MaskingColumns]) -> View | None:
        """Corrupt all samples of a micro-batch at once; None unless all have the only modality."""
        if (name := only_samples(samples)) is None:
            return None
        joint, spec = JointMaskings(samples, maskings), self.specs[name]
        short = shorten_each(dataclasses.replace(maskings[name], unit=None), samples.owner, "sketch")
        mask_ids = np.full(int(short.is_unit.sum()), spec.id("mask"))
        context = contexts_of(samples, joint, short, mask_ids, renumber=self.renumber)
        asked = np.flatnonzero(~specials_joint(samples))
        owner = samples.owner[asked]
        lengths = np.bincount(owner, minlength=samples.num_samples) + 1
        ends, at = np.cumsum(lengths), np.arange(len(asked)) + owner
        of, literal = np.full(int(ends[-1]), -1, np.int64), np.full(int(ends[-1]), -1, np.int64)
        weight = np.ones(len(of), np.float32)
        of[at], literal[ends - 1], weight[at] = asked, spec.id("end"), joint.weight(asked)
        place = None
        if not self.renumber:
            place = np.full(len(of), -1)
            place[at + 1] = asked
        return View(context, written_each(samples, joint, lengths, of, literal, spec.id("start"), place=place, weight=weight))
