"""Masking of spans of adjacent tokens."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.components.maskers.budget import num_hidden
from omnimask.components.maskers.fields import check_field
from omnimask.components.maskers.ragged import lowest, num_hidden_each
from omnimask.components.maskers.words import Words, words_of
from omnimask.interfaces import Context, Draw, Draws, Masking, MaskingColumns, TokenColumns, Tokens
from omnimask.interfaces.schedules import Ratio, value_at, values_at


class SpanMasker:
    """Masking of spans of adjacent tokens (T5's span corruption [0]), or of whole words with geometric lengths (SpanBERT [1]).

    ``unit`` numbers spans from the left.

    With ``lengths: split`` the number of hidden tokens is exact. Hidden tokens are split into spans at random, as are the visible
    ones around them; all splits are equally likely. At least one visible token separates adjacent spans. The number of spans is
    ``hidden / mean_length``, rounded, at least one, and limited by the visible tokens available as separators.

    With ``lengths: geometric`` spans are laid one after another until the budget is spent. A length of n words has probability
    proportional to (1 - p)^(n - 1), up to ``max_length``: 3.8 words on average for p 0.2 and at most 10. The first word is drawn
    uniformly from those followed by enough free words; if there is none, the span is as long as the available room. The span that
    would exceed the budget is laid with the probability that makes the expected number of tokens exact. Spans may touch. Words at
    either end of a sample are covered by fewer span positions, and so less often.

    Args:
        ratio: share of the tokens to hide, in (0, 1], or a schedule of it; relative to all tokens, including those outside of
            words.
        mean_length: mean number of tokens of a span, for ``split``.
        lengths: distribution of lengths.
        p: parameter of the geometric distribution.
        max_length: largest length in words, for ``geometric``.
        field: integer field that numbers the words, for ``geometric``; None: every token is a word. Tokens outside of words (a
            negative number) stay visible, and spans never cross them.

    SpanBERT: ratio 0.15, lengths geometric, p 0.2, max_length 10, field word.

    [0] Raffel et al.: Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer, 2019, section 3.1.4.
    [1] Joshi et al.: SpanBERT: Improving Pre-training by Representing and Predicting Spans, 2019, section 3.1.
    """

    def __init__(
        self,
        context: Context,
        *,
        ratio: Annotated[Ratio, Field(description="share of masked tokens")] = 0.15,
        mean_length: Annotated[float, Field(ge=1, description="mean span length in tokens, for split")] = 3.0,
        lengths: Annotated[Literal["split", "geometric"], Field(description="distribution of lengths")] = "split",
        p: Annotated[float, Field(gt=0, lt=1, description="parameter p of the geometric distribution")] = 0.2,
        max_length: Annotated[int, Field(gt=0, description="maximum length in words, for geometric")] = 10,
        field: Annotated[str | None, Field(description="field with word numbers, for geometric; none: tokens")] = None,
    ) -> None:
        self.ratio, self.mean_length, self.lengths, self.field = ratio, mean_length, lengths, field
        self.shares = np.cumsum((1 - p) ** np.arange(max_length))
        if field is not None and lengths == "split":
            raise ValueError(f"lengths: split counts tokens, not words; set lengths: geometric, or remove field {field!r}")
        if field is not None:
            check_field(context, "span", field)

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
        ratio = value_at(self.ratio, draw)
        unit = self._split(len(tokens), ratio, draw) if self.lengths == "split" else self._geometric(tokens, ratio, draw)
        is_target = unit >= 0
        return Masking(~is_target, is_target, unit, level=ratio)

    def _split(self, length: int, ratio: float, draw: Draw) -> NDArray[np.int64]:
        """Return (L,) index of each token's span."""
        hidden = num_hidden(length, ratio, draw)
        unit = np.full(length, -1, np.int64)
        if hidden:
            visible = length - hidden
            spans = min(max(1, round(hidden / self.mean_length)), hidden, visible + 1)
            lengths = _parts(hidden, spans, draw.uniform(hidden - 1, "spans"))
            free = visible - (spans - 1)
            gaps = _parts(free + spans + 1, spans + 1, draw.uniform(free + spans, "gaps")) - 1
            # Inner gaps hold at least one token, so that spans do not touch; the outer two may be empty.
            gaps[1:-1] += 1
            starts = np.cumsum(gaps[:-1]) + np.concatenate([[0], np.cumsum(lengths[:-1])])
            for number, (start, size) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
                unit[start : start + size] = number
        return unit

    def mask_batch(self, tokens: TokenColumns) -> MaskingColumns | None:
        """Mask all samples of a micro-batch at once; None for geometric lengths."""
        if self.lengths != "split":
            return None
        ratio = values_at(self.ratio, tokens.draws)
        hidden = num_hidden_each(tokens.lengths, ratio, tokens.draws)
        visible = tokens.lengths - hidden
        wanted = np.maximum(np.rint(hidden / self.mean_length).astype(np.int64), 1)
        spans = np.minimum(np.minimum(wanted, hidden), visible + 1)
        lengths = _parts_each(hidden, spans, tokens.draws, "spans")
        # Without spans the only gap is the whole sample, as below.
        free = visible - np.maximum(spans - 1, 0)
        gaps = _parts_each(free + spans + 1, spans + 1, tokens.draws, "gaps") - 1
        unit = _alternating(gaps, lengths, spans)
        kind = np.zeros(tokens.num_samples, np.int64)
        return MaskingColumns(unit < 0, unit >= 0, tokens.lengths, ratio, kind, unit=unit)

    def _geometric(self, tokens: Tokens, ratio: float, draw: Draw) -> NDArray[np.int64]:
        """Return (L,) index of each token's span."""
        words = words_of(tokens, self.field)
        budget = ratio * len(tokens)
        uniform = draw.uniform(2 * (int(budget) + 2), "lengths and places").reshape(-1, 2)
        lengths = np.searchsorted(self.shares, uniform[:, 0] * self.shares[-1], side="right") + 1
        return words.units(lay(words, budget, lengths, uniform[:, 1], draw.uniform(1, "last")[0]))


def lay(words: Words, budget: float, lengths: NDArray[np.int64], places: NDArray[np.float64], last: float) -> list[tuple[int, int]]:
    """Lay spans of contiguous free words, and return them as [first, last) words in order of placement.

    Args:
        words: of a sample.
        budget: expected number of tokens; spans are laid until it is spent, or nothing is free.
        lengths: (K,) of the spans in words, at least as many as the budget has tokens.
        places: (K,) uniform in [0, 1), for their first words.
        last: uniform in [0, 1); decides whether the span that would exceed the budget is laid.
    """
    is_free, total = np.ones(len(words), bool), 0
    spans: list[tuple[int, int]] = []
    for wanted, place in zip(lengths.tolist(), places.tolist(), strict=True):
        room = _room(is_free, words.follows)
        length = min(wanted, int(room.max(initial=0)))
        if not length:
            break
        starts = np.flatnonzero(room >= length)
        first = int(starts[int(place * len(starts))])
        size = int(words.size[first : first + length].sum())
        is_over = total + size > budget + 1e-9
        # Laid with the probability that makes the expected number of tokens exact.
        if is_over and last >= (budget - total) / size:
            break
        spans.append((first, first + length))
        if is_over:
            break
        is_free[first : first + length] = False
        total += size
    return spans


def _room(is_free: NDArray[np.bool_], follows: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return (W,) number of contiguous free words from each word on."""
    count = len(is_free)
    stops = np.where(np.concatenate([~is_free | ~follows, [True]]), np.arange(count + 1), count)
    # The next stop to the right of each word: a running minimum from the end.
    following = np.minimum.accumulate(stops[::-1])[::-1][1:]
    return np.where(is_free, following - np.arange(count), 0)


def _parts(total: int, count: int, uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return (count,) positive lengths that sum to ``total``, uniform over all such splits; ``uniform`` (total - 1,)."""
    # A random subset of count - 1 of the total - 1 borders between elements.
    cuts = np.sort(np.argsort(uniform, kind="stable")[: count - 1]) + 1
    return np.diff(np.concatenate([[0], cuts, [total]])).astype(np.int64)


def _parts_each(total: NDArray[np.int64], count: NDArray[np.int64], draws: Draws, purpose: str) -> NDArray[np.int64]:
    """Return the lengths of :func:`_parts` of every sample, concatenated; none of a sample whose ``count`` (B,) is 0."""
    borders = np.maximum(total - 1, 0) * (count > 0)
    is_cut = lowest(draws.uniform(borders, purpose), borders, np.maximum(count - 1, 0))
    # A part begins at the first element of each sample, and behind each cut.
    sizes = total * (count > 0)
    is_first = np.zeros(int(sizes.sum()), bool)
    starts = (np.cumsum(sizes) - sizes)[count > 0]
    inner = np.ones(len(is_first), bool)
    inner[starts] = False
    is_first[starts], is_first[inner] = True, is_cut
    return np.bincount(np.cumsum(is_first) - 1, minlength=int(count.sum()))


def _alternating(gaps: NDArray[np.int64], lengths: NDArray[np.int64], spans: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (P,) index of each token's span, -1 in gaps.

    Args:
        gaps: (sum of spans + B,) visible tokens before each span and behind the last; inner ones lack the token that separates.
        lengths: (sum of spans,) hidden tokens of each span.
        spans: (B,) of each sample.
    """
    sizes = 2 * spans + 1
    place = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    is_span = place % 2 == 1
    repeats = np.empty(len(place), np.int64)
    is_inner = ~is_span & (place > 0) & (place < np.repeat(sizes, sizes) - 1)
    repeats[~is_span], repeats[is_span] = gaps, lengths
    return np.repeat(np.where(is_span, place // 2, -1), repeats + is_inner)
