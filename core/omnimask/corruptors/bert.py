"""Hidden tokens become the mask token, another token, or stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.corruptors.base import joint_targets, joint_visible, joint_weight, level_of
from omnimask.interfaces import CONTENT, Context, Masking, Sample, View
from omnimask.streams import sequence, targets

Share = Annotated[float, Field(ge=0, le=1)]


class Bert:
    """Shows the mask token for 80 % of the hidden tokens, a random id for 10 %, and the token itself for 10 %; asks in place [0].

    Each hidden token draws its fate by itself. Random ids are uniform over the vocabulary, special ones included, as in the
    reference. For modalities whose tokens are ids.

    Args:
        mask: share of the hidden tokens that shows the mask token.
        random: share that shows a random id; the rest is kept.

    [0] Devlin et al.: BERT, 2018, section 3.1.
    """

    answers_in: ClassVar[Literal["context", "query"]] = "context"
    specials: tuple[str, ...] = ("mask",)
    num_answers = 0

    def __init__(self, context: Context, *, mask: Share = 0.8, random: Share = 0.1) -> None:
        self.specs, self.mask, self.random = context.specs, mask, random
        if mask + random > 1 + 1e-9:
            raise ValueError(f"mask {mask} and random {random} are shares of the hidden tokens, and sum to more than 1")
        for name in context.modalities:
            if context.specs[name].vocabulary is None:
                raise ValueError(
                    f"corruptor bert draws random ids, and the tokens of {name!r} have continuous content; use mask_token"
                )

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        is_hidden = ~joint_visible(sample, masking)
        fate = sample.draw.uniform(len(sample), "fate")
        masked, swapped = is_hidden & (fate < self.mask), is_hidden & (fate >= self.mask) & (fate < self.mask + self.random)
        literal = np.full(len(sample), CONTENT, np.int64)
        literal[masked] = self._each(sample, [self.specs[m].id("mask") for m in sample.modalities])[masked]
        sizes = self._each(sample, [self.specs[m].vocabulary or 0 for m in sample.modalities])
        literal[swapped] = np.floor(sample.draw.uniform(len(sample), "id") * sizes)[swapped]
        asked = np.flatnonzero(joint_targets(sample, masking))
        table = targets(asked, asked, weight=joint_weight(sample, masking)[asked])
        return View(sequence(sample, np.arange(len(sample)), literal=literal, targets=table, level=level_of(masking)))

    def _each(self, sample: Sample, values: list[int]) -> NDArray[np.int64]:
        """(n,) a modality's value for each of its tokens."""
        return np.array(values, np.int64)[sample.modality]
