"""Independent tokens, in exact number."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from omnimask.interfaces import Context, Draw, Masking, Tokens
from omnimask.maskers.budget import num_hidden


class RandomMasker:
    """Hides a uniformly drawn subset of the tokens and asks for all of it (MAE [0], BERT [1]).

    Args:
        ratio: share of the tokens that is hidden, in (0, 1]. The number is exact where ``ratio * length`` is an integer, else one of
            its two neighbours, such that the expected share is exact.

    [0] He et al.: Masked Autoencoders Are Scalable Vision Learners, 2021.
    [1] Devlin et al.: BERT, 2018.
    """

    def __init__(
        self, context: Context, *, ratio: Annotated[float, Field(gt=0, le=1, description="share that is hidden")]
    ) -> None:
        del context
        self.ratio = ratio

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
        length = len(tokens)
        order = np.argsort(draw.uniform(length, "order"), kind="stable")
        is_target = np.zeros(length, bool)
        is_target[order[: num_hidden(length, self.ratio, draw)]] = True
        return Masking(~is_target, is_target, level=self.ratio)
