"""Masking of tokens inside annotated spans only."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.columns import masked
from omnimask.component import Component
from omnimask.components.maskers.budget import pick_units
from omnimask.components.maskers.candidates import put_back, put_back_columns, take, take_columns
from omnimask.components.maskers.fields import Class, check_field, class_number, spans_of, spans_of_each, stretches_each
from omnimask.components.maskers.ragged import numbered, pick_units_each
from omnimask.interfaces import Context, Draw, Masker, Masking, MaskingColumns, TokenColumns, Tokens, TokenSpec
from omnimask.interfaces.schedules import Ratio, value_at, values_at


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

    def mask_batch(self, tokens: TokenColumns) -> MaskingColumns | None:
        """Mask all samples of a micro-batch at once; None if some of them take the fallback."""
        span, owner = spans_of_each(tokens, self.fields, self.classes), tokens.owner
        has_any = np.bincount(owner[span >= 0], minlength=tokens.num_samples) > 0
        if self.fallback is not None and not has_any.all():
            return None
        if self.inverse:
            span = np.where(has_any[owner], stretches_each(span < 0, tokens), -1)
        ratio = values_at(self.ratio, tokens.draws)
        is_target = self._hidden_each(span, ratio, tokens)
        unit = None if self.per_span == "any" else np.where(is_target, span, -1)
        masking = MaskingColumns(~is_target, is_target, tokens.lengths, ratio, np.zeros(tokens.num_samples, np.int64), unit=unit)
        return masking if self.rest is None else self._with_rest(masking, np.flatnonzero(span < 0), tokens)

    def _with_rest(self, masking: MaskingColumns, others: NDArray[np.int64], tokens: TokenColumns) -> MaskingColumns | None:
        """Return the masking with that of the ``others`` (n,), which the masker of the rest sees alone."""
        assert self.rest is not None
        part = take_columns(tokens, others)
        rows = np.flatnonzero(part.lengths)
        if not len(rows):
            return masking
        rest = masked(self.rest, part.take(rows).at("rest"))
        if rest is None or rest.weight is not None:
            return None
        level, kind = np.zeros(tokens.num_samples), np.zeros(tokens.num_samples, np.int64)
        rest = put_back_columns(dataclasses.replace(rest, lengths=part.lengths, level=level, kind=kind), others, tokens)
        unit = None if masking.unit is None else _joined_units(masking.unit, rest, tokens)
        is_visible, is_target = masking.is_visible & rest.is_visible, masking.is_target | rest.is_target
        return dataclasses.replace(masking, is_visible=is_visible, is_target=is_target, unit=unit)

    def _hidden_each(self, span: NDArray[np.int64], ratio: NDArray[np.float64], tokens: TokenColumns) -> NDArray[np.bool_]:
        """Return (P,) True for hidden candidates; see :meth:`_hidden`."""
        held, count = np.flatnonzero(span >= 0), tokens.num_samples
        owner = tokens.owner[held]
        if self.per_span == "one":
            uniform = tokens.draws.uniform(np.bincount(owner, minlength=count), "token")
            order = np.lexsort((uniform, span[held], owner))
            names = owner[order] * (int(span.max(initial=0)) + 1) + span[held][order]
            held = np.sort(held[order[np.concatenate([np.ones(min(len(names), 1), bool), np.diff(names) != 0])]])
            owner = tokens.owner[held]
        counts = np.bincount(owner, minlength=count)
        budget = ratio * (counts if self.share_of == "candidates" else tokens.lengths)
        is_hidden = np.zeros(len(span), bool)
        if self.per_span == "all":
            units = numbered(span[held], owner, count)
            is_hidden[held] = pick_units_each(units.size, units.count, budget, tokens.draws)[units.place]
        else:
            is_hidden[held] = pick_units_each(np.ones(len(held), np.int64), counts, budget, tokens.draws)
        return is_hidden


def _stretches(is_in: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return (L,) index of each token's run inside the region, -1 outside."""
    begins = is_in & ~np.concatenate([np.zeros(1, bool), is_in[:-1]])
    return np.where(is_in, np.cumsum(begins) - 1, -1)


def _joined_units(unit: NDArray[np.int64], rest: MaskingColumns, tokens: TokenColumns) -> NDArray[np.int64]:
    """Return (P,) units of disjoint tokens: those of the rest are numbered behind each sample's ``unit``; see :func:`_joined`."""
    place = np.arange(len(unit)) - np.repeat(tokens.offsets[:-1], tokens.lengths)
    other = np.where(rest.is_visible, -1, place) if rest.unit is None else rest.unit
    last = np.full(tokens.num_samples, -1)
    np.maximum.at(last, tokens.owner, unit)
    return np.where(other >= 0, other + last[tokens.owner] + 1, unit)


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
