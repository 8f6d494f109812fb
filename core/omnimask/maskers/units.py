"""Whole units of tokens: words, phrases, whatever a field of the tokens numbers."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from omnimask.interfaces import Context, Draw, Masking, Tokens


class UnitMasker:
    """Hides whole units, which a field of the tokens numbers, and asks for all of their tokens (whole-word masking [0]).

    Units are taken in random order until the share of tokens is reached. The unit that would exceed it is taken with the
    probability that makes the expected number of tokens exact. Tokens without a unit (a negative number) stay visible.

    Args:
        ratio: share of the tokens that is hidden, in (0, 1]; of all tokens, those without a unit included.
        field: integer field of the tokens.

    [0] Devlin et al.: BERT, whole-word masking models, 2019; Cui et al.: Pre-Training with Whole Word Masking for Chinese BERT,
    2019.
    """

    def __init__(
        self,
        context: Context,
        *,
        ratio: Annotated[float, Field(gt=0, le=1, description="share that is hidden")],
        field: Annotated[str, Field(description="numbers the units")] = "word",
    ) -> None:
        self.ratio, self.field = ratio, field
        for name in context.modalities:
            if field not in context.specs[name].fields:
                known = sorted(context.specs[name].fields) or "none"
                raise ValueError(f"masker units needs the field {field!r}, and the tokens of {name!r} have {known}")

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
        number = np.asarray(tokens.fields[self.field], np.int64)
        names, unit = np.unique(np.maximum(number, -1), return_inverse=True)
        size = np.bincount(unit, minlength=len(names))
        order = np.argsort(draw.uniform(len(names), "order"), kind="stable")
        order = order[names[order] >= 0]
        total, budget = np.cumsum(size[order]), self.ratio * len(number)
        taken = int(np.searchsorted(total, budget + 1e-9, side="right"))
        is_hidden = np.zeros(len(names), bool)
        is_hidden[order[:taken]] = True
        if taken < len(order):
            missing = budget - (int(total[taken - 1]) if taken else 0)
            is_hidden[order[taken]] = draw.uniform(1, "last")[0] < missing / size[order[taken]]
        is_target = is_hidden[unit]
        return Masking(~is_target, is_target, np.where(is_target, number, -1), level=self.ratio)
