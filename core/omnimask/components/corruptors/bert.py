"""BERT's corruption of hidden tokens: mask token, random token, or unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.columns import sequences
from omnimask.components.corruptors.base import JointMaskings, joint_targets, joint_visible, joint_weight, kind_of, level_of
from omnimask.interfaces import CONTENT, Context, Masking, MaskingColumns, Sample, SampleColumns, View
from omnimask.streams import sequence, targets

Share = Annotated[float, Field(ge=0, le=1)]


class BertCorruptor:
    """The mask token for 80 % of the hidden tokens, a random id for 10 %, the token itself for 10 %; answered in place [0].

    Hidden tokens are drawn independently. Random ids are uniform over the vocabulary, including special ones, as in the reference.
    For modalities with ids.

    Args:
        masked: share of the hidden tokens that shows the mask token.
        random: share that shows a random id; the rest is unchanged.

    [0] Devlin et al.: BERT, 2018, section 3.1.
    """

    answers_in: ClassVar[Literal["context", "query"]] = "context"
    specials: tuple[str, ...] = ("mask",)
    num_answers = 0

    def __init__(self, context: Context, *, masked: Share = 0.8, random: Share = 0.1) -> None:
        self.specs, self.served, self.masked, self.random = context.specs, context.modalities, masked, random
        if masked + random > 1 + 1e-9:
            raise ValueError(f"masked {masked} and random {random} are shares of the masked tokens and must sum to at most 1")
        for name in context.modalities:
            if context.specs[name].vocabulary is None:
                raise ValueError(f"corruptor bert draws random ids, but the tokens of {name!r} are continuous; use mask_token")

    @cached_property
    def _ids(self) -> NDArray[np.int64]:
        """Mask token of every modality; 0 for those that this corruptor does not serve."""
        return np.array([spec.id("mask") if name in self.served else 0 for name, spec in self.specs.items()], np.int64)

    @cached_property
    def _sizes(self) -> NDArray[np.int64]:
        return np.array([spec.vocabulary or 0 for spec in self.specs.values()], np.int64)

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        count = len(sample)
        hidden = np.flatnonzero(~joint_visible(sample, masking))
        # Two numbers per hidden token: its fate, and the random id, if it gets one.
        fate, place = sample.draw.uniform(2 * len(hidden), "fate").reshape(2, -1)
        literal = np.full(count, CONTENT, np.int64)
        literal[hidden] = self._shown(sample.modality[hidden], fate, place)
        asked = np.flatnonzero(joint_targets(sample, masking))
        table = targets(asked, asked, weight=joint_weight(sample, masking)[asked])
        level, kind = level_of(masking), kind_of(masking)
        return View(sequence(sample, np.arange(count), literal=literal, targets=table, level=level, kind=kind))

    def corrupt_batch(self, samples: SampleColumns, maskings: Mapping[str, MaskingColumns]) -> View:
        """Corrupt all samples of a micro-batch at once."""
        joint = JointMaskings(samples, maskings)
        hidden = np.flatnonzero(~joint.is_visible)
        counts = np.bincount(samples.owner[hidden], minlength=samples.num_samples)
        uniform = samples.draws.uniform(2 * counts, "fate")
        # A sample's numbers are the fates of its hidden tokens, followed by their places.
        first = np.arange(len(hidden)) + np.repeat(np.cumsum(counts) - counts, counts)
        literal = np.full(len(samples.owner), CONTENT, np.int64)
        literal[hidden] = self._shown(samples.modality[hidden], uniform[first], uniform[first + np.repeat(counts, counts)])
        every = sequences(
            samples, None, samples.lengths, literal=literal, targets=joint.in_place(), kind=joint.kind, level=joint.level
        )
        return View(every)

    def _shown(self, modality: NDArray[np.int64], fate: NDArray[np.float64], place: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the ids shown at hidden tokens, whole numbers, from two uniform numbers each; all arguments (n,)."""
        masked, swapped = fate < self.masked, (fate >= self.masked) & (fate < self.masked + self.random)
        return np.where(masked, self._ids[modality], np.where(swapped, np.floor(place * self._sizes[modality]), CONTENT))
