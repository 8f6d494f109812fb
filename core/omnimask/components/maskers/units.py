"""Masking of whole units of tokens (words, phrases) numbered by a token field."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from omnimask.components.maskers.budget import pick_units
from omnimask.components.maskers.fields import check_field
from omnimask.components.maskers.ragged import numbered, pick_units_each
from omnimask.interfaces import Context, Draw, Masking, MaskingColumns, TokenColumns, Tokens
from omnimask.interfaces.schedules import Ratio, value_at, values_at


class UnitMasker:
    """Masking of whole units, numbered by a token field, with all of their tokens as targets (whole-word masking [0]).

    Units are picked in random order until the ratio is reached. The unit that would exceed it is picked with the probability that
    makes the expected number of tokens exact. Tokens without a unit (a negative number) stay visible.

    Args:
        ratio: share of the tokens to hide, in (0, 1], or a schedule of it; relative to all tokens, including those without a unit.
        field: integer field of the tokens.

    [0] Devlin et al.: BERT, whole-word masking models, 2019; Cui et al.: Pre-Training with Whole Word Masking for Chinese BERT,
    2019.
    """

    def __init__(
        self,
        context: Context,
        *,
        ratio: Annotated[Ratio, Field(description="share of masked tokens")],
        field: Annotated[str, Field(description="field with unit numbers")] = "word",
    ) -> None:
        self.ratio, self.field = ratio, field
        check_field(context, "units", field)

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
        number = np.asarray(tokens.fields[self.field], np.int64)
        ratio = value_at(self.ratio, draw)
        is_unit = number >= 0
        names, unit = np.unique(number[is_unit], return_inverse=True)
        is_target = np.zeros(len(number), bool)
        is_target[is_unit] = pick_units(np.bincount(unit, minlength=len(names)), ratio * len(number), draw)[unit]
        return Masking(~is_target, is_target, np.where(is_target, number, -1), level=ratio)

    def mask_batch(self, tokens: TokenColumns) -> MaskingColumns:
        """Mask all samples of a micro-batch at once."""
        number, ratio = np.asarray(tokens.fields[self.field], np.int64), values_at(self.ratio, tokens.draws)
        is_unit = number >= 0
        units = numbered(number[is_unit], tokens.owner[is_unit], tokens.num_samples)
        is_target = np.zeros(len(number), bool)
        is_target[is_unit] = pick_units_each(units.size, units.count, ratio * tokens.lengths, tokens.draws)[units.place]
        kind = np.zeros(tokens.num_samples, np.int64)
        return MaskingColumns(~is_target, is_target, tokens.lengths, ratio, kind, unit=np.where(is_target, number, -1))
