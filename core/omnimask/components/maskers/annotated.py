"""Masking of tokens inside annotated spans only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.component import Component
from omnimask.components.maskers.budget import pick_units
from omnimask.components.maskers.candidates import put_back, take
from omnimask.components.maskers.fields import Class, check_field, class_number, spans_of
from omnimask.interfaces import Context, Draw, Masker, Masking, Tokens, TokenSpec
from omnimask.interfaces.schedules import Ratio, value_at


class AnnotatedMasker:
    """Masking of tokens of annotated spans (LEM [0], EntityCS [1], BiTimeBERT 2.0's time expressions [2]).

    Token fields number the spans. A token annotated by several fields belongs to the first.

    Args:
        fields: integer fields with span numbers (negative: no span), or float fields whose runs of equal values are spans (NaN:
            none).
        classes: restricts spans to these classes, by field; the field ``NAME.class`` holds the class of every token of NAME. A
            class is a number, or a name if the tokenizer defines names.
        ratio: share to hide, in (0, 1], or a schedule of it. The expected number is exact.
        share_of: the ratio refers to the ``candidates`` (spans with ``per_span: one``, else their tokens), or to all ``tokens`` of
            the sample; all candidates are hidden if there are fewer.
        per_span: hides ``one`` token of a span, drawn uniformly; ``all`` of its tokens, as one unit; or ``any`` tokens, independent
            of spans.
        inverse: use the tokens outside of the spans as candidates, and each of their runs is a span. Annotated tokens stay visible
            (GENIUS [3]).
        rest: a masker of the tokens that are not candidates.
        fallback: masker of samples without candidates (with ``inverse``: without an annotation). None: ``rest`` masks them;
            without ``rest``, nothing is hidden or asked.

    LEM: per_span one, classes of nouns, verbs and named entities. EntityCS, whole entities: ratio 1.0, per_span all. BiTimeBERT
    2.0: ratio 0.3 of time expressions, the rest by ``random``.

    [0] Fernando et al.: Linguistic Entity Masking to Improve Cross-Lingual Representation of Multilingual Language Models for
    Low-Resource Languages, 2025. [1] Whitehouse et al.: EntityCS: Improving Zero-Shot Cross-lingual Transfer with Entity-Centric
    Code Switching, 2022. [2] Wang et al.: BiTimeBERT 2.0, 2024.
    [3] Guo et al.: GENIUS: Sketch-based Language Model Pre-training via Extreme and Selective Masking, 2022.
    """

    def __init__(
        self,
        context: Context,
        *,
        fields: Annotated[list[str], Field(min_length=1, description="fields with span numbers")],
        ratio: Annotated[Ratio, Field(description="share of masked tokens")],
        classes: Annotated[Mapping[str, list[Class]], Field(description="restrict to spans of these classes, by field")] = {},
        share_of: Annotated[Literal["candidates", "tokens"], Field(description="total that the ratio refers to")] = "candidates",
        per_span: Annotated[Literal["one", "all", "any"], Field(description="masked part of a span")] = "all",
        inverse: Annotated[bool, Field(description="use the tokens outside of the spans as candidates")] = False,
        rest: Annotated[Component[Masker] | None, Field(description="masker of the other tokens")] = None,
        fallback: Annotated[Component[Masker] | None, Field(description="masker of samples without candidates")] = None,
    ) -> None:
        self.fields, self.ratio = fields, ratio
        self.share_of, self.per_span, self.inverse = share_of, per_span, inverse
        if unknown := [name for name in classes if name not in fields]:
            raise ValueError(f"classes are given for {unknown}, but fields are {fields}")
        for name in (*fields, *(f"{name}.class" for name in classes)):
            check_field(context, "annotated", name)
        self.classes = {field: [class_number(context, field, one) for one in chosen] for field, chosen in classes.items()}
        self.spec = context.specs[context.modalities[0]] if context.modalities else TokenSpec()
        self.rest = None if rest is None else rest(context)
        self.fallback = None if fallback is None else fallback(context)

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
        span = spans_of(tokens, self.fields, self.classes)
        has_any = bool(np.any(span >= 0))
        if not has_any and self.fallback is not None:
            return self.fallback(tokens, draw.at("fallback"))
        if self.inverse:
            span = _stretches(span < 0) if has_any else np.full(len(tokens), -1)
        ratio = value_at(self.ratio, draw)
        is_target = self._hidden(span, ratio, draw)
        unit = None if self.per_span == "any" else np.where(is_target, span, -1)
        masking = Masking(~is_target, is_target, unit, level=ratio)
        others = np.flatnonzero(span < 0)
        if self.rest is None or not len(others):
            return masking
        rest = self.rest(take(tokens, others, self.spec), draw.at("rest"))
        return _joined(masking, put_back(rest, others, len(tokens)))

    def _hidden(self, span: NDArray[np.int64], ratio: float, draw: Draw) -> NDArray[np.bool_]:
        """Return (L,) True for hidden candidates, given the span index of each token."""
        held = np.flatnonzero(span >= 0)
        if self.per_span == "one":
            # By span, and at random inside: the first token of each span is its candidate.
            order = held[np.lexsort((draw.uniform(len(held), "token"), span[held]))]
            held = order[np.concatenate([np.ones(min(len(order), 1), bool), np.diff(span[order]) != 0])]
        _, unit = np.unique(span[held] if self.per_span == "all" else held, return_inverse=True)
        budget = ratio * (len(held) if self.share_of == "candidates" else len(span))
        is_hidden = np.zeros(len(span), bool)
        is_hidden[held] = pick_units(np.bincount(unit, minlength=1), budget, draw)[unit]
        return is_hidden


def _stretches(is_in: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return (L,) index of each token's run inside the region, -1 outside."""
    begins = is_in & ~np.concatenate([np.zeros(1, bool), is_in[:-1]])
    return np.where(is_in, np.cumsum(begins) - 1, -1)


def _joined(left: Masking, right: Masking) -> Masking:
    """Return the union of two maskings of disjoint tokens."""
    if right.groups is not None or right.weight is not None:
        raise ValueError(
            "the masker of the rest returns weights or target groups, which cannot be combined with the annotated tokens'"
        )
    unit = None
    if left.unit is not None:
        single = np.where(np.asarray(right.is_visible), -1, np.arange(len(left.unit)))
        other = single if right.unit is None else np.asarray(right.unit)
        unit = np.where(other >= 0, other + int(left.unit.max(initial=-1)) + 1, left.unit)
    return Masking(
        np.asarray(left.is_visible) & np.asarray(right.is_visible),
        np.asarray(left.is_target) | np.asarray(right.is_target),
        unit,
        level=left.level,
    )
