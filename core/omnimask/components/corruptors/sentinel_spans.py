"""T5's span corruption: sentinels replace hidden spans, and a separate sequence contains the answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from omnimask.components.corruptors.base import JointMaskings, check_ids, check_one_axis, only_modality
from omnimask.components.corruptors.shortened import (
    Ints,
    context_of,
    contexts_of,
    hidden_units,
    only_samples,
    shorten,
    shorten_each,
    written,
    written_each,
)
from omnimask.components.maskers.ragged import numbered
from omnimask.interfaces import Context, Masking, MaskingColumns, Sample, SampleColumns, Stream, View


class SentinelSpans:
    """One sentinel in place of each hidden span; the query is the sequence ``<0> span 0 <1> span 1 ... end`` (T5 [0]).

    Serves one discrete modality. The query stream is a causal decoder's input, shifted right behind ``start``. Its targets are the
    next token of each slot. Spans are the masking's units; hidden tokens without a unit form spans by adjacency. Every span must be
    a target as a whole.

    Args:
        num_sentinels: number of sentinels; a sample with more spans is an error.
        renumber: positions count the slots of the shortened input (and of the answer). Otherwise tokens keep their positions, a
            sentinel takes that of its span's first token, an answer's slot that of the token it shows, and ``start`` has none.

    [0] Raffel et al.: Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer, 2019.
    """

    answers_in: ClassVar[Literal["context", "query"]] = "query"

    def __init__(
        self,
        context: Context,
        *,
        num_sentinels: Annotated[int, Field(gt=0, description="number of sentinels")] = 100,
        renumber: Annotated[bool, Field(description="number positions by slots instead of tokens")] = True,
    ) -> None:
        self.specs, self.num_sentinels, self.renumber = context.specs, num_sentinels, renumber
        check_ids(context, "sentinel_spans")
        if renumber:
            check_one_axis(context)
        self.specials = (*(f"sentinel_{i}" for i in range(num_sentinels)), "end", "start")
        self.num_answers = num_sentinels + 1

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        name = only_modality(sample, "sentinel_spans")
        spec = self.specs[name]
        unit = hidden_units(masking[name])
        spans = np.unique(unit[unit >= 0])
        if len(spans) > self.num_sentinels:
            raise ValueError(f"{len(spans)} spans need as many sentinels, but num_sentinels is {self.num_sentinels}")
        sentinel = np.array([spec.id(f"sentinel_{i}") for i in range(len(spans))], np.int64)
        if np.any(np.asarray(masking[name].is_target, bool) != (unit >= 0)):
            raise ValueError("sentinel_spans predicts exactly the masked tokens, but this masker has other targets")
        short = shorten(unit, "sentinel_spans")
        shown = sentinel[np.searchsorted(spans, unit[short.kept][short.is_unit])]
        context = context_of(sample, masking, short, shown, renumber=self.renumber)
        return View(context, self._query(sample, masking, name, unit, sentinel))

    def _query(self, sample: Sample, masking: Mapping[str, Masking], name: str, unit: Ints, sentinel: Ints) -> Stream:
        spec = self.specs[name]
        # Answer: each span preceded by its sentinel. ``order`` lists hidden tokens span by span.
        hidden = np.flatnonzero(unit >= 0)
        order = hidden[np.argsort(unit[hidden], kind="stable")]
        is_first = np.concatenate([[True], np.diff(unit[order]) != 0]) if len(order) else np.zeros(0, bool)
        size = len(order) + len(sentinel)
        is_sentinel = np.zeros(size, bool)
        # Every sentinel written before moves a span one place to the right.
        is_sentinel[np.flatnonzero(is_first) + np.arange(len(sentinel))] = True
        of, literal = np.full(size + 1, -1, np.int64), np.full(size + 1, -1, np.int64)
        of[:size][~is_sentinel] = order
        literal[:size][is_sentinel] = sentinel
        literal[size] = spec.id("end")
        place = np.concatenate([[-1], of[:-1]])
        place[1:][is_sentinel] = order[is_first]
        number = sample.modalities.index(name)
        return written(sample, masking, number, of, literal, spec.id("start"), place=None if self.renumber else place)

    def corrupt_batch(self, samples: SampleColumns, maskings: Mapping[str, MaskingColumns]) -> View | None:
        """Corrupt all samples of a micro-batch at once; None unless all have the only modality."""
        if (name := only_samples(samples)) is None:
            return None
        joint, masking, spec = JointMaskings(samples, maskings), maskings[name], self.specs[name]
        short = shorten_each(masking, samples.owner, "sentinel_spans")
        hidden = np.flatnonzero(~masking.is_visible)
        owner = samples.owner[hidden]
        unit = (short.slot if masking.unit is None else masking.unit)[hidden]
        spans = numbered(unit, owner, samples.num_samples)
        if (most := int(spans.count.max(initial=0))) > self.num_sentinels:
            raise ValueError(f"{most} spans need as many sentinels, but num_sentinels is {self.num_sentinels}")
        if np.any(masking.is_target == masking.is_visible):
            raise ValueError("sentinel_spans predicts exactly the masked tokens, but this masker has other targets")
        sentinel = np.array([spec.id(f"sentinel_{i}") for i in range(most)], np.int64)
        number = np.zeros(len(samples.owner), np.int64)
        number[hidden] = spans.number
        shown = sentinel[number[short.kept[short.is_unit]]]
        context = contexts_of(samples, joint, short, shown, renumber=self.renumber)
        # Hidden tokens, sample by sample and span by span.
        order = np.lexsort((spans.number, owner))
        return View(context, self._queries(samples, joint, name, hidden[order], number, sentinel))

    def _queries(
        self, samples: SampleColumns, joint: JointMaskings, name: str, hidden: Ints, number: Ints, sentinel: Ints
    ) -> Stream:
        """Return the answers; ``hidden`` (n',) tokens span by span, ``number`` (n,) of the span of each."""
        spec, owner, span = self.specs[name], samples.owner[hidden], number[hidden]
        is_first = np.ones(len(hidden), bool)
        is_first[1:] = (owner[1:] != owner[:-1]) | (span[1:] != span[:-1])
        counts = np.bincount(owner, minlength=samples.num_samples)
        lengths = counts + np.bincount(owner[is_first], minlength=samples.num_samples) + 1
        ends = np.cumsum(lengths)
        # Behind the tokens, sentinels and ends of all samples before, and the sentinels of the own sample.
        at = np.arange(len(hidden)) + np.cumsum(is_first) + owner
        of, literal = np.full(int(ends[-1]), -1, np.int64), np.full(int(ends[-1]), -1, np.int64)
        of[at], literal[at[is_first] - 1], literal[ends - 1] = hidden, sentinel[span[is_first]], spec.id("end")
        place = None
        if not self.renumber:
            # A slot shows the element before: a token, or a sentinel, which stands for its span's first token.
            place = np.full(len(of), -1)
            place[at + 1], place[at[is_first]] = hidden, hidden[is_first]
        return written_each(samples, joint, lengths, of, literal, spec.id("start"), place=place)
