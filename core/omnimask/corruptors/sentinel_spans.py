"""Hidden spans shrink to sentinels; the answer is a sequence of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.corruptors.base import level_of
from omnimask.interfaces import CONTENT, Context, Masking, Sample, Stream, View
from omnimask.streams import sequence, targets


class SentinelSpans:
    """Replaces each hidden span by one sentinel; the query is the sequence ``<0> span 0 <1> span 1 ... end`` (T5 [0]).

    Serves one discrete modality. The query stream is a decoder's input, shifted right behind ``start``, causal, and its targets are
    what follows each slot. Spans are the masking's units; hidden tokens without a unit form spans by adjacency. Every span must be
    asked for as a whole.

    Args:
        num_sentinels: how many sentinels exist; a sample with more spans is an error.
        renumber: positions count the slots of the shortened input (and of the answer); otherwise tokens keep their positions, a
            sentinel takes that of its span's first token, an answer's slot that of the token it shows, and ``start`` has none.

    [0] Raffel et al.: Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer, 2019.
    """

    answers_in: ClassVar[Literal["context", "query"]] = "query"

    def __init__(
        self,
        context: Context,
        *,
        num_sentinels: Annotated[int, Field(gt=0, description="how many sentinels exist")] = 100,
        renumber: Annotated[bool, Field(description="positions count slots instead of tokens")] = True,
    ) -> None:
        self.specs, self.num_sentinels, self.renumber = context.specs, num_sentinels, renumber
        for name in context.modalities:
            spec = context.specs[name]
            if spec.vocabulary is None:
                raise ValueError(
                    f"sentinel_spans needs ids, and the tokens of {name!r} have continuous content; use drop or mask_token"
                )
            if renumber and spec.axes != 1:
                raise ValueError(f"renumber needs one position axis, and {name!r} has {spec.axes}; set renumber: false")
        self.specials = (*(f"sentinel_{i}" for i in range(num_sentinels)), "end", "start")
        self.num_answers = num_sentinels + 1

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View:
        if len(sample.tokens) != 1:
            raise ValueError(f"sentinel_spans serves one modality, not {list(sample.tokens)}; name it under each modality")
        (name,) = sample.tokens
        spec, number = self.specs[name], sample.modalities.index(name)
        unit = hidden_units(masking[name])
        spans = np.unique(unit[unit >= 0])
        if len(spans) > self.num_sentinels:
            raise ValueError(f"{len(spans)} spans need as many sentinels, and num_sentinels is {self.num_sentinels}")
        sentinel = np.array([spec.id(f"sentinel_{i}") for i in range(len(spans))], np.int64)
        is_target = np.asarray(masking[name].is_target, bool)
        if np.any(is_target != (unit >= 0)):
            raise ValueError(
                "sentinel_spans answers exactly the hidden tokens; this masker hides tokens that are no targets, or asks others"
            )
        context = self._context(sample, number, unit, sentinel, level_of(masking))
        return View(context, self._query(sample, number, unit, sentinel, spec.id("start"), spec.id("end"), level_of(masking)))

    def _context(self, sample: Sample, number: int, unit: NDArray, sentinel: NDArray, level: float) -> Stream:
        is_first = (unit >= 0) & (np.concatenate([[-1], unit[:-1]]) != unit)
        if int(is_first.sum()) != len(sentinel):
            raise ValueError("sentinel_spans needs spans of neighbouring tokens; a unit of this masker lies in several pieces")
        kept = np.flatnonzero((unit < 0) | is_first)
        hidden = unit[kept] >= 0
        literal = np.full(len(kept), CONTENT, np.int64)
        literal[hidden] = sentinel[np.searchsorted(np.unique(unit[unit >= 0]), unit[kept][hidden])]
        positions = np.arange(len(kept))[:, None] if self.renumber else sample.positions[kept]
        modality = np.full(len(kept), number)
        return sequence(sample, np.where(hidden, -1, kept), literal=literal, modality=modality, positions=positions, level=level)

    def _query(self, sample: Sample, number: int, unit: NDArray, sentinel: NDArray, start: int, end: int, level: float) -> Stream:
        order = np.argsort(np.where(unit >= 0, unit, len(unit)), kind="stable")[: int((unit >= 0).sum())]
        first = np.concatenate([[True], np.diff(unit[order]) != 0]) if len(order) else np.zeros(0, bool)
        size = len(order) + len(sentinel)
        is_sentinel = np.zeros(size, bool)
        is_sentinel[np.flatnonzero(first) + np.arange(len(sentinel))] = True
        of, literal = np.full(size + 1, -1, np.int64), np.full(size + 1, -1, np.int64)
        of[:size][~is_sentinel] = order
        literal[:size][is_sentinel] = sentinel
        literal[size] = end
        source = np.concatenate([[-1], of[:-1]])
        shown = np.concatenate([[start], literal[:-1]])
        count = size + 1
        place = source.copy()
        place[1:][is_sentinel] = order[first]
        positions = np.arange(count)[:, None] if self.renumber else _positions_at(sample, place)
        return sequence(
            sample,
            source,
            literal=np.where(shown >= 0, shown, CONTENT),
            modality=np.full(count, number),
            positions=positions,
            has_position=None if self.renumber else place >= 0,
            rank=np.arange(count),
            targets=targets(np.arange(count), of, literal=literal),
            level=level,
        )


def _positions_at(sample: Sample, place: NDArray[np.int64]) -> NDArray[np.float32]:
    """(T, A) positions of the tokens at ``place``, zeros where it is -1."""
    out = np.zeros((len(place), sample.positions.shape[1]), np.float32)
    out[place >= 0] = sample.positions[place[place >= 0]]
    return out


def hidden_units(masking: Masking) -> NDArray[np.int64]:
    """(L,) number of the hidden span each token belongs to, -1 for visible tokens."""
    is_hidden = ~np.asarray(masking.is_visible, bool)
    if masking.unit is not None:
        unit = np.asarray(masking.unit, np.int64)
        if np.any(is_hidden & (unit < 0)):
            raise ValueError("a masking with units must give every hidden token one")
        return np.where(is_hidden, unit, -1)
    starts = is_hidden & ~np.concatenate([[False], is_hidden[:-1]])
    return np.where(is_hidden, np.cumsum(starts) - 1, -1)
