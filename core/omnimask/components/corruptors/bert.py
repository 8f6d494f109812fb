"""BERT's corruption of hidden tokens: mask token, random token, or unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.components.corruptors.base import joint_targets, joint_visible, joint_weight, kind_of, level_of
from omnimask.interfaces import CONTENT, Context, Masking, Sample, View
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
        number = sample.modality[hidden]
        masked, swapped = fate < self.masked, (fate >= self.masked) & (fate < self.masked + self.random)
        ids = np.where(masked, self._ids[number], np.where(swapped, np.floor(place * self._sizes[number]), CONTENT))
        literal = np.full(count, CONTENT, np.int64)
        literal[hidden] = ids
        asked = np.flatnonzero(joint_targets(sample, masking))
        table = targets(asked, asked, weight=joint_weight(sample, masking)[asked])
        level, kind = level_of(masking), kind_of(masking)
        return View(sequence(sample, np.arange(count), literal=literal, targets=table, level=level, kind=kind))
