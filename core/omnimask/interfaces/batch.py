"""Inputs and outputs of networks: streams, views, packed batches, features, predictions.

P store tokens of a batch (all samples and modalities); T slots and S sequences of a stream; N targets; B samples; D width; A
position axes.

*Store coordinates*: a batch holds its clean tokens once, modality after modality. Every token has one index in ``[0, P)``. Streams
index the store, and features scatter back to it, so embedding, teacher targets and latent inputs are all gathers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omnimask.interfaces.tokens import Array

AttentionKind: TypeAlias = Literal["full", "causal", "ranked"]

_HOST = {"host": True}
"""Metadata of fields kept as NumPy arrays on the host, whatever the batch's device."""


@dataclass(frozen=True)
class Targets:
    """Table of (slot, answer) rows.

    ``at`` (N, arity) slots of this stream (arity 0: (N, 1) sequences). ``of`` (N,) store index of the answer, or -1. ``literal``
    (N,) id of an answer outside the store (a sentinel, an end token), or -1. ``weight`` (N,) float32. ``index`` (N,) number of the
    answer if a slot has several (n-grams, codebooks). A negative ``index`` marks the answer for a whole unit of tokens; ``literal``
    is then an id in the units' own vocabulary.

    Packing sorts the rows by modality, with those for whole units behind all others, so that a predictor takes a slice: see
    :meth:`rows`. ``spans`` stores the bounds, by :meth:`span`.
    """

    at: Array
    of: Array
    literal: Array
    weight: Array
    index: Array | None = None
    arity: Literal[0, 1, 2] = 1
    spans: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])

    def __len__(self) -> int:
        return len(self.of)

    def rows(self, modality: str, units: bool = False) -> tuple[int, int]:
        """Return the bounds ``(start, stop)`` of the rows with answers of a modality: its tokens, or its whole units.

        The bounds are numbers on the host, (0, 0) if there are none. They are known for packed tables only.
        """
        return self.spans.get(self.span(modality, units), (0, 0))

    @staticmethod
    def span(modality: str, units: bool = False) -> str:
        """Return the name under which ``spans`` stores the bounds of a modality."""
        return f"{modality}.unit" if units else modality


@dataclass(frozen=True)
class Layout:
    """Boundaries of S concatenated sequences in a packed array.

    Always host data: shapes and loops never synchronize with the device.

    ``lengths`` (S,) int64, may be 0. ``parent`` (S,) maps query to context sequences, and context sequences to samples.
    ``attention`` is the visibility within a sequence, decided on the host: ``full`` (rank 0 everywhere), ``causal`` (rank counts
    up) or ``ranked`` (anything else). ``modality`` (S,) index of the modality of a sequence's slots, -1 if it has several; None if
    not needed.

    ``prefix`` (S,) int64 describes ``ranked`` sequences with ranks ``0..0,1,2..``: the first ``prefix`` slots see each other, and
    every later slot sees itself and all slots before it. None for other ranks. :attr:`prefixes` covers all kinds of attention.
    """

    lengths: NDArray[np.int64]
    parent: NDArray[np.int64]
    attention: AttentionKind = "full"
    modality: NDArray[np.int64] | None = None
    prefix: NDArray[np.int64] | None = None

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """First slot of each sequence, followed by the total; (S + 1,)."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths, dtype=np.int64)])

    @cached_property
    def prefixes(self) -> NDArray[np.int64] | None:
        """Number of first slots of each sequence (S,) that see each other: all if full, 0 if causal.

        None if only ``rank`` and ``block`` define the visibility.
        """
        if self.attention == "full":
            return self.lengths
        return np.zeros_like(self.lengths) if self.attention == "causal" else self.prefix

    @property
    def num_sequences(self) -> int:
        return len(self.lengths)

    @property
    def num_slots(self) -> int:
        return int(self.offsets[-1])


@dataclass(frozen=True)
class Packed:
    """Concatenated sequences without padding: ``data`` (T, ...) with its ``layout``."""

    data: Tensor
    layout: Layout


@dataclass(frozen=True)
class Reads:
    """Slots of a stream that show tokens or special ids of one modality. Known on the host, so embedding never synchronizes.

    ``slots`` (n,) show store content, rows ``index`` (n,) of the modality's store. ``literal_slots`` (k,) show ``literals`` (k,).
    ``slots`` is None if all slots, in order, show content of the only modality.
    """

    index: Array
    slots: Array | None
    literals: Array
    literal_slots: Array


@dataclass(frozen=True)
class Asked:
    """Distinct slots of a stream to which its targets refer. The last layer of a network may compute these only.

    ``slots`` (R,) ascending. ``row`` (T,) index into ``slots`` for asked slots, -1 for all others. ``layout`` of the R slots, in
    the order of the stream's sequences.
    """

    slots: Array
    row: Array
    layout: Layout


@dataclass(frozen=True)
class Pairs:
    """A field of ordered pairs of tokens, addressed by the slots of a stream.

    ``values`` (sum of L^2, ...) of all samples, row by row. ``row`` (T,) offset of the pairs of a slot's token, -1 for slots
    without a token with such a field. ``column`` (T,) index of a slot's token in its sample.
    """

    values: Array
    row: Array
    column: Array

    def __call__(self, queries: Tensor, keys: Tensor, absent: float = 0) -> Tensor:
        """Return (n, L_q, L_k, ...) values for slots (n, L_q) and (n, L_k), each row within one sequence; ``absent`` if a pair
        has no value."""
        first, second = self.row[queries], self.row[keys]
        is_pair = (first >= 0)[:, :, None] & (second >= 0)[:, None, :]
        if not len(self.values):
            return self.values.new_full((*is_pair.shape, *self.values.shape[1:]), absent)
        # Flat index of the pair (i, j): start of row i plus column of j. Absent slots are clamped here and replaced below.
        index = first.clamp(min=0)[:, :, None] + self.column[keys][:, None, :]
        values = self.values[index.clamp(max=len(self.values) - 1)]
        is_pair = is_pair.reshape(*is_pair.shape, *(1,) * (values.ndim - is_pair.ndim))
        return values.where(is_pair, absent)


CONTENT, NOTHING = -1, -2


@dataclass(frozen=True)
class Stream:
    """Input of a network: T slots, each pointing to a store token or holding an inserted id.

    Slot i sees slot j iff they lie in one sequence and ``rank[j] < rank[i] or (rank[j] == rank[i] and block[j] == block[i])``. Rank
    0 everywhere is bidirectional; counting up is causal; 0..0,1,2.. is a prefix; a slot in a block of its own is only a query.

    ``source`` (T,) store index of the slot's token, -1 for inserted slots. ``literal`` (T,) id shown instead of the source's
    content: -1 (``CONTENT``) shows the content, -2 (``NOTHING``) only the position. ``modality`` (T,) index into the recipe's
    modalities. ``positions`` (T, A), ``has_position`` (T,). ``noise`` (T,) float64 uniform, keyed, the source of all discrete
    choices on the device; None if no component needs it. ``kind``, ``level`` (S,) per sequence: branch of a mixture, ratio drawn.

    Set when a batch is packed: ``reads`` by modality; ``asked`` for targets at single slots; ``fields`` by modality and name, shown
    by the view instead of the store's, in the form of ``MaskedBatch.fields``; ``pairs`` by name, all pair fields, addressed by
    slots.
    """

    source: Array
    literal: Array
    modality: Array
    positions: Array
    has_position: Array
    rank: Array
    block: Array
    layout: Layout
    targets: Targets
    kind: Array
    level: Array
    noise: Array | None = None
    reads: Mapping[str, Reads] = field(default_factory=dict[str, Reads])
    asked: Asked | None = None
    fields: Mapping[str, Mapping[str, Array]] = field(default_factory=dict[str, Mapping[str, Array]])
    pairs: Mapping[str, Pairs] = field(default_factory=dict[str, Pairs])


@dataclass(frozen=True)
class View:
    """One corrupted version of a sample.

    A pass's encoder reads ``context``, a predictor's decoder reads ``query`` (its parents are context sequences).

    ``fields`` of tokens or of pairs override the store's. A corruptor returns them by name, (L, ...) or (L, L, ...) for the
    sample's L tokens of the modality, or as ``modality.name`` if several modalities have a field of this name. In a batch they have
    the form of ``MaskedBatch.fields``. ``hidden`` contains, by modality, the number of tokens hidden by its masker and the number
    of maskable tokens; always host data.
    """

    context: Stream
    query: Stream | None = None
    fields: Mapping[str, Array] = field(default_factory=dict[str, Array])
    hidden: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])


@dataclass(frozen=True)
class MaskedBatch:
    """The clean tokens of B samples, stored once, and the views into it.

    ``store`` content of each modality (P_m, ...), one sequence per sample (length 0 if absent). ``base`` store index of each
    modality's first token. ``fields[modality][name]`` (P_m, ...) or (sum L^2, ...). ``views`` by name. ``keys`` identify the
    samples.

    ``labels`` (B, ...) by name and ``group`` (B,) are always host data: labelled samples and groups are known before any forward
    pass. Samples of one group are never split over micro-batches or ranks.
    """

    store: Mapping[str, Packed]
    base: Mapping[str, int]
    views: Mapping[str, View]
    group: NDArray[np.int64] = field(metadata=_HOST)
    keys: tuple[str, ...] = field(metadata=_HOST)
    fields: Mapping[str, Mapping[str, Array]] = field(default_factory=dict[str, Mapping[str, Array]])
    labels: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, "NDArray[Any]"], metadata=_HOST)

    @property
    def num_samples(self) -> int:
        return len(self.keys)

    @property
    def num_tokens(self) -> int:
        """Number of tokens of all modalities, before masking."""
        return sum(packed.layout.num_slots for packed in self.store.values())


@dataclass(frozen=True)
class LossTerm:
    """``total`` () weighted sum over this micro-batch. ``exact`` is False for a batch statistic, which changes if the batch is
    split."""

    name: str
    total: Tensor
    exact: bool = True


@dataclass(frozen=True)
class Encoded:
    """Output of an encoder.

    ``features`` (T, D) in the coordinates of ``stream``; ``layers`` (T, D) by tap, where 1 is the output of the first block;
    ``mlps`` (T, D) by block, the output of its MLP before the residual addition; ``summary`` (S, R, D) of class or register tokens.

    If ``only_asked``, ``features`` holds the stream's asked slots alone; see :meth:`at_slots`.
    """

    features: Packed
    stream: Stream
    layers: Mapping[int, Tensor] = field(default_factory=dict[int, Tensor])
    summary: Tensor | None = None
    only_asked: bool = False
    mlps: Mapping[int, Tensor] = field(default_factory=dict[int, Tensor])

    def at(self, layer: int | None) -> Tensor:
        """Return (T, D) features of a tapped layer, or of the last layer for None."""
        return self.features.data if layer is None else self.layers[layer]

    def at_slots(self, slots: Tensor, layer: int | None = None) -> Tensor:
        """Return (N, D) features at asked slots (N,) of the stream."""
        if layer is not None or not self.only_asked:
            return self.at(layer)[slots]
        assert self.stream.asked is not None
        return self.features.data[self.stream.asked.row[slots]]

    def in_store(self, num_tokens: int, layer: int | None = None) -> Tensor:
        """Return (P, D) features in store coordinates.

        A token with several slots, as in several sequences of its sample, gets the mean of their features, one without a slot
        zeros.
        """
        if layer is None and self.only_asked:
            assert self.stream.asked is not None
            return self._in_store(self.features.data, self.stream.source[self.stream.asked.slots], num_tokens)
        return self.to_store(self.at(layer), num_tokens)

    def to_store(self, values: Tensor, num_tokens: int) -> Tensor:
        """Return values (T, D) of the stream's slots in store coordinates (P, D), as :meth:`in_store` does with features."""
        return self._in_store(values, self.stream.source, num_tokens)

    @staticmethod
    def _in_store(features: Tensor, source: Tensor, num_tokens: int) -> Tensor:
        # Inserted slots go to one more row. Leaving them out would make the host wait for their number.
        row = torch.where(source >= 0, source, num_tokens)
        total = features.new_zeros(num_tokens + 1, features.shape[1]).index_add(0, row, features)
        count = features.new_zeros(num_tokens + 1).index_add(0, row, features.new_ones(len(row)))
        return (total / count.clamp(min=1)[:, None])[:num_tokens]


@dataclass(frozen=True)
class Prediction:
    """Output of a predictor: ``features`` (N, D') at the targets only. ``head`` maps them to logits or values and may be applied
    in chunks. ``stream`` holds the targets; ``context`` is the encoder's input (the same stream for an in-place head)."""

    features: Tensor
    head: Callable[[Tensor], Tensor]
    targets: Targets
    stream: Stream
    context: Stream
    modality: str


@dataclass(frozen=True)
class Result:
    """Output of one pass: its encoder's features and its predictions by term name."""

    encoded: Encoded
    predictions: Mapping[str, Prediction]


@dataclass(frozen=True)
class Run:
    """Data available to device components: the batch, and the results of earlier passes and of the current one."""

    batch: MaskedBatch
    results: Mapping[str, Result]


PairBias: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Additive bias of attention logits: query slots (n, L_q) and key slots (n, L_k) -> (n, H, L_q, L_k), or (1, ...) if equal for
all n."""

PairRelation: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Integers of pairs: query slots (n, L_q) and key slots (n, L_k) -> int64 (n, L_q, L_k), or (1, ...) if equal for all n."""


@dataclass(frozen=True)
class Placement:
    """Output of a position component for a stream. Every part may be None.

    ``added`` (T, D) to the embeddings; ``rotation`` (cos, sin), each (T, head_width), of queries and keys; ``bias`` of the logits
    for pairs of the stream's slots.
    """

    added: Tensor | None = None
    rotation: tuple[Tensor, Tensor] | None = None
    bias: PairBias | None = None

    def unbiased(self, reader: str) -> Placement:
        """Return itself, for a reader that cannot apply a bias. Raise ``ValueError`` if there is one."""
        if self.bias is not None:
            raise ValueError(f"{reader} cannot bias its attention; choose a position other than alibi")
        return self
