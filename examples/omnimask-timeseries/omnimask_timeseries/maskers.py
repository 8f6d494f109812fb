"""Masker of the end of a series."""

from typing import Annotated

import numpy as np
from pydantic import Field

from omnimask.interfaces import Context, Draw, Masking, Tokens

Share = Annotated[float, Field(gt=0, lt=1)]


class ForecastMasker:
    """Masker of the end of a series, in all of its channels. The hidden share is drawn uniformly between two bounds.

    For windows at random, use omnimask's masker ``random``; with ``unit: [CHANNELS, 1]`` it hides the same windows in all channels.

    Args:
        least: smallest share of the time to hide.
        most: largest share of the time to hide.
    """

    def __init__(self, context: Context, *, least: Share = 0.25, most: Share = 0.5) -> None:
        if least > most:
            raise ValueError(f"least ({least}) is greater than most ({most}); exchange them")
        self.least, self.most = least, most

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
        share = self.least + (self.most - self.least) * float(draw.uniform(1, "share")[0])
        times = np.asarray(tokens.positions)[:, -1]
        first, last = (times.min(), times.max()) if len(times) else (0, 0)
        is_target = times >= first + round((1 - share) * (last - first + 1))
        return Masking(~is_target, is_target, level=share)
