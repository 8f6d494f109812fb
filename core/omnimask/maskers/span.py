"""Runs of neighbouring tokens, hidden as one."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.interfaces import Context, Draw, Masking, Tokens
from omnimask.maskers.budget import num_hidden


class SpanMasker:
    """Hides spans of a given mean length, an exact number of tokens in total (T5's span corruption [0]).

    The hidden tokens are cut into spans at random, and so are the visible ones around them; every split is equally likely. Spans
    are numbered in ``unit`` from the left. Neighbouring spans keep at least one visible token between them.

    Args:
        ratio: share of the tokens that is hidden, in (0, 1], as in the masker ``random``.
        mean_length: mean number of tokens of a span. There are ``hidden / mean_length`` spans, rounded, at least one, and no more
            than the visible tokens can keep apart.

    [0] Raffel et al.: Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer, 2019, section 3.1.4.
    """

    def __init__(
        self,
        context: Context,
        *,
        ratio: Annotated[float, Field(gt=0, le=1, description="share that is hidden")] = 0.15,
        mean_length: Annotated[float, Field(ge=1, description="mean tokens of a span")] = 3.0,
    ) -> None:
        del context
        self.ratio, self.mean_length = ratio, mean_length

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
        length = len(tokens)
        hidden = num_hidden(length, self.ratio, draw)
        unit = np.full(length, -1, np.int64)
        if hidden:
            visible = length - hidden
            spans = min(max(1, round(hidden / self.mean_length)), hidden, visible + 1)
            lengths = _parts(hidden, spans, draw.uniform(hidden - 1, "spans"))
            free = visible - (spans - 1)
            gaps = _parts(free + spans + 1, spans + 1, draw.uniform(free + spans, "gaps")) - 1
            gaps[1:-1] += 1
            starts = np.cumsum(gaps[:-1]) + np.concatenate([[0], np.cumsum(lengths[:-1])])
            for number, (start, size) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
                unit[start : start + size] = number
        is_target = unit >= 0
        return Masking(~is_target, is_target, unit, level=self.ratio)


def _parts(total: int, count: int, uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    """(count,) positive lengths that sum to ``total``, uniform over all such splits; ``uniform`` (total - 1,)."""
    cuts = np.sort(np.argsort(uniform, kind="stable")[: count - 1]) + 1
    return np.diff(np.concatenate([[0], cuts, [total]])).astype(np.int64)
