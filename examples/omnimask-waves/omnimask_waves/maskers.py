"""Masker of the end of a series."""

from typing import Annotated

import numpy as np
from pydantic import Field

from omnimask.interfaces import Context, Draw, Masking, Tokens

Share = Annotated[float, Field(gt=0, lt=1)]


class ForecastMasker:
    """Masker of the end of a series.

    The hidden share is drawn uniformly between two bounds.

    Args:
        least: smallest share of the tokens to hide.
        most: largest share of the tokens to hide.
    """

    def __init__(self, context: Context, *, least: Share = 0.25, most: Share = 0.5) -> None:
        if least > most:
            raise ValueError(f"least ({least}) is greater than most ({most}); exchange them")
        self.least, self.most = least, most

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
        share = self.least + (self.most - self.least) * float(draw.uniform(1, "share")[0])
        is_target = np.arange(len(tokens)) >= round((1 - share) * len(tokens))
        return Masking(~is_target, is_target, level=share)
