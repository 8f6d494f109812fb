"""Evenly distributed n-grams of adjacent words."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.components.maskers.fields import check_field
from omnimask.components.maskers.words import words_of
from omnimask.interfaces import Context, Draw, Masking, Tokens
from omnimask.interfaces.schedules import Ratio, value_at

Weights = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]


class NGramMasker:
    """Masking of one n-gram of words in every window of n / ratio words; P(n) is proportional to 1 / n (ALBERT [0], DeBERTa [1]).

    Windows follow one another from a random word on. Their sizes are not integers, so the ratio is exact. The n-gram lies at a
    random place inside its window. Every word is hidden with the same probability, independent of its position, and the expected
    number of tokens is exact; the actual number varies. An n-gram that reaches the end of the sample continues at its beginning, as
    a separate unit. One that reaches tokens outside of words is cut there. ``unit`` numbers units from the left.

    The reference [1] uses windows of n * int(1 / ratio) words, which gives 1 / 6 for a ratio of 0.15, and stops in reading order
    once the budget is spent: it hides nothing in the last tenth of its samples.

    Args:
        ratio: share of the tokens to hide, in (0, 1], or a schedule of it; relative to all tokens, including those outside of
            words.
        weights: of n-grams of 1, 2, ... words.
        field: integer field that numbers the words; None: every token is a word. Tokens outside of words stay visible.

    MacBERT [2]: weights (0.4, 0.3, 0.2, 0.1).

    [0] Lan et al.: ALBERT, 2019, section 3.1. [1] He et al.: DeBERTa, 2020; reference implementation microsoft/DeBERTa,
    ``NGramMaskGenerator``. [2] Cui et al.: Revisiting Pre-Trained Models for Chinese Natural Language Processing, 2020.
    """

    def __init__(
        self,
        context: Context,
        *,
        ratio: Annotated[Ratio, Field(description="share of masked tokens")] = 0.15,
        weights: Annotated[Weights, Field(description="weights of n-grams of 1, 2, ... words")] = (1.0, 1 / 2, 1 / 3),
        field: Annotated[str | None, Field(description="field with word numbers; none: tokens")] = None,
    ) -> None:
        self.ratio, self.field = ratio, field
        self.shares = np.cumsum(weights)
        if field is not None:
            check_field(context, "ngram", field)

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
        ratio = value_at(self.ratio, draw)
        words = words_of(tokens, self.field)
        held = int(words.size.sum())
        pieces = self._pieces(len(words), min(1.0, ratio * len(tokens) / held), draw) if held else []
        unit = words.units([part for piece in pieces for part in _stretches(*piece, words.follows)])
        is_target = unit >= 0
        return Masking(~is_target, is_target, unit, level=ratio)

    def _pieces(self, count: int, ratio: float, draw: Draw) -> list[tuple[int, int]]:
        """Return [first, last) of the n-grams on a circle of ``count`` words, cut where the circle closes."""
        most = int(count * ratio) + 2
        uniform = draw.uniform(2 * most, "n-grams and places").reshape(-1, 2)
        phase, last = draw.uniform(2, "phase and last")
        size = np.searchsorted(self.shares, uniform[:, 0] * self.shares[-1], side="right") + 1
        # Windows of size / ratio words; their ends are real numbers.
        end = np.cumsum(size / ratio)
        full = int(np.searchsorted(end, count + 1e-9, side="right"))
        begin = np.concatenate([[0.0], end])
        first = np.floor(begin[:full] + uniform[:full, 1] * (size[:full] / ratio - size[:full])).astype(np.int64)
        found = list(zip(first.tolist(), size[:full].tolist(), strict=True))
        rest = count - float(begin[full])
        if rest > 1e-9:
            kept = min(int(size[full]), count - int(begin[full]))
            places = count - kept - int(begin[full]) + 1
            # The window cut by the end of the circle keeps its n-gram with the probability that preserves the ratio.
            if last < rest * ratio / kept:
                found.append((int(begin[full]) + int(uniform[full, 1] * places), kept))
        return _turned(found, int(phase * count), count)


def _turned(found: list[tuple[int, int]], phase: int, count: int) -> list[tuple[int, int]]:
    """Rotate (first, size) on a circle of ``count`` words by ``phase``, and return [first, last) pieces."""
    pieces: list[tuple[int, int]] = []
    for first, size in found:
        start = (first + phase) % count
        stop = start + size
        pieces.append((start, min(stop, count)))
        if stop > count:
            pieces.append((0, stop - count))
    return pieces


def _stretches(first: int, last: int, follows: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Split the words [first, last) into contiguous runs."""
    if follows[first + 1 : last].all():
        return [(first, last)]
    cuts = [first, *(np.flatnonzero(~follows[first + 1 : last]) + first + 1).tolist(), last]
    return list(pairwise(cuts))
