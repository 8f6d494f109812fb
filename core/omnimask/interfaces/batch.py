"""What networks read and what they give: streams, views, packed batches, features, predictions.

P store tokens of a batch (all samples and modalities); T slots and S sequences of a stream; N targets; B samples; D width; A
position axes.

*Store coordinates*: a batch holds its clean tokens once, modality after modality, and every token has one index in ``[0, P)``.
Streams point into the store and features scatter back to it, so embedding, teacher targets and latent inputs are all gathers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from omnimask.interfaces.tokens import Array

AttentionKind: TypeAlias = Literal["full", "causal", "ranked"]

_HOST = {"host": True}
"""Metadata of fields that stay NumPy arrays on the host, whatever device a batch lies on."""


@dataclass(frozen=True)
class Targets:
    """Which slot answers for what.

    ``at`` (N, arity) slots of this stream (arity 0: (N, 1) sequences); ``of`` (N,) store index of the answer or -1; ``literal``
    (N,) id of an answer that is no token of the store (a sentinel, an end), or -1; ``weight`` (N,) float32; ``index`` (N,) which
    answer, where one slot has several (n-grams, codebooks); it is negative where the answer is for a whole unit of tokens, and then
    ``literal`` is an id of the units' own. ``spans``: rows ``[start, stop)`` of each modality; rows are sorted by modality when a
    batch is packed, so that a predictor of one modality takes a slice. Rows for whole units lie behind all others, and their spans
    are named ``<modality>.unit``.
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


@dataclass(frozen=True)
class Layout:
    """How S sequences lie end to end in a packed array. Always host data: shapes and loops never wait for a device.

    ``lengths`` (S,) int64, 0 is legal; ``parent`` (S,) query -> context sequence, context -> sample. ``attention`` is the
    visibility inside a sequence, decided on the host: ``full`` (rank 0 everywhere), ``causal`` (rank counts up), ``ranked``.
    ``modality`` (S,) index of the one modality of a sequence's slots, -1 where it has several; None where nobody asks.
    """

    lengths: NDArray[np.int64]
    parent: NDArray[np.int64]
    attention: AttentionKind = "full"
    modality: NDArray[np.int64] | None = None

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """(S + 1,) first slot of each sequence, and the total."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths, dtype=np.int64)])

    @property
    def num_sequences(self) -> int:
        return len(self.lengths)

    @property
    def num_slots(self) -> int:
        return int(self.offsets[-1])


@dataclass(frozen=True)
class Packed:
    """``data`` (T, ...) of sequences that lie end to end as ``layout`` says."""

    data: Tensor
    layout: Layout


@dataclass(frozen=True)
class Reads:
    """Which slots of a stream show tokens or special ids of one modality; host-known, so that embedding never synchronises.

    ``slots`` (n,) that show store content, and its row ``index`` (n,) in the modality's store; ``literal_slots`` (k,) that show
    ``literals`` (k,). ``slots`` is None when all slots, in order, show content of the only modality.
    """

    index: Array
    slots: Array | None
    literals: Array
    literal_slots: Array


@dataclass(frozen=True)
class Asked:
    """The slots of a stream that its targets ask, each once: what the last layer of a network must compute.

    ``slots`` (R,) ascending; ``row`` (T,) their number for those slots, -1 for the others; ``layout`` of the R slots, sequence by
    sequence of the stream.
    """

    slots: Array
    row: Array
    layout: Layout


@dataclass(frozen=True)
class Pairs:
    """A field of ordered pairs of tokens, as the slots of a stream address it.

    ``values`` (sum of L^2, ...) of all samples, row by row of each; ``row`` (T,) where the pairs of a slot's token begin, -1 for
    slots that stand for no token with such a field; ``column`` (T,) place of a slot's token in its sample.
    """

    values: Array
    row: Array
    column: Array

    def __call__(self, queries: Tensor, keys: Tensor, absent: float = 0) -> Tensor:
        """(n, L_q, L_k, ...) values of pairs of slots (n, L_q), (n, L_k) of one sequence each; ``absent`` where there is none."""
        first, second = self.row[queries], self.row[keys]
        is_pair = (first >= 0)[:, :, None] & (second >= 0)[:, None, :]
        if not len(self.values):
            return self.values.new_full((*is_pair.shape, *self.values.shape[1:]), absent)
        index = first.clamp(min=0)[:, :, None] + self.column[keys][:, None, :]
        values = self.values[index.clamp(max=len(self.values) - 1)]
        is_pair = is_pair.reshape(*is_pair.shape, *(1,) * (values.ndim - is_pair.ndim))
        return values.where(is_pair, absent)


CONTENT, NOTHING = -1, -2


@dataclass(frozen=True)
class Stream:
    """What a network reads: T slots, each pointing to a store token or holding an inserted id.

    Slot i sees slot j iff they lie in one sequence and ``rank[j] < rank[i] or (rank[j] == rank[i] and block[j] == block[i])``:
    rank 0 everywhere is bidirectional, counting up is causal, 0..0,1,2.. is a prefix, a block of one's own is a query only.

    ``source`` (T,) store index this slot stands for, -1: inserted. ``literal`` (T,) id shown instead of the source's content,
    -1 (``CONTENT``): content is shown, -2 (``NOTHING``): only the position is. ``modality`` (T,) index into the recipe's
    modalities. ``positions`` (T, A), ``has_position`` (T,). ``noise`` (T,) float64 uniform, keyed: every discrete choice on the
    device uses it; None if no component asks. ``kind``, ``level`` (S,) per sequence: branch of a mixture, rate drawn.

    Filled in when a batch is packed: ``reads`` by modality; ``asked`` of targets at single slots; ``fields`` by modality and name,
    those that the view shows instead of the store's, in the form of ``MaskedBatch.fields``; ``pairs`` by name, all fields of pairs,
    addressed by slots.
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
    """``context`` is read by a pass's encoder, ``query`` by a predictor's decoder (its parents are context sequences).

    ``fields`` are those, of tokens or of pairs of tokens, that this view shows instead of the store's: a corruptor gives them under
    their names, (L, ...) or (L, L, ...) for the sample's L tokens of the modality, and under ``modality.name`` where several
    modalities have a field of that name; in a batch they have the form of ``MaskedBatch.fields``. ``hidden`` says by modality how
    many tokens its masker hid, and of how many that could be; always host data.
    """

    context: Stream
    query: Stream | None = None
    fields: Mapping[str, Array] = field(default_factory=dict[str, Array])
    hidden: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])


@dataclass(frozen=True)
class MaskedBatch:
    """The clean tokens of B samples, once, and the views that point into them.

    ``store`` content of each modality (P_m, ...), one sequence per sample (length 0 where absent); ``base`` store index of each
    modality's first token; ``fields[modality][name]`` (P_m, ...) or (sum L^2, ...); ``views`` by name; ``keys`` name the samples.

    ``labels`` (B, ...) by name and ``group`` (B,) are always host data: which samples have a label, and which belong together, is
    known before any forward pass. Samples with one group number are never split over micro-batches or ranks.
    """

    store: Mapping[str, Packed]
    base: Mapping[str, int]
    views: Mapping[str, View]
    group: NDArray[np.int64] = field(metadata=_HOST)
    keys: tuple[str, ...]
    fields: Mapping[str, Mapping[str, Array]] = field(default_factory=dict[str, Mapping[str, Array]])
    labels: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, "NDArray[Any]"], metadata=_HOST)

    @property
    def num_samples(self) -> int:
        return len(self.keys)

    @property
    def num_tokens(self) -> int:
        """Tokens before masking, of all modalities."""
        return sum(packed.layout.num_slots for packed in self.store.values())


@dataclass(frozen=True)
class LossTerm:
    """``total`` () weighted sum over this micro-batch; ``exact`` False for a batch statistic, which a split changes."""

    name: str
    total: Tensor
    exact: bool = True


@dataclass(frozen=True)
class Encoded:
    """What an encoder gives: ``features`` (T, D) in the coordinates of ``stream``; ``layers`` (T, D) of the taps asked for,
    1 is the output of the first block; ``summary`` (S, R, D) of class or register tokens.

    With ``only_asked``, ``features`` are those of the stream's asked slots alone; see :meth:`at_slots`."""

    features: Packed
    stream: Stream
    layers: Mapping[int, Tensor] = field(default_factory=dict[int, Tensor])
    summary: Tensor | None = None
    only_asked: bool = False

    def at(self, layer: int | None) -> Tensor:
        """(T, D) of a tapped layer, or the last layer's for None."""
        return self.features.data if layer is None else self.layers[layer]

    def at_slots(self, slots: Tensor, layer: int | None = None) -> Tensor:
        """(N, D) at slots (N,) of the stream, which targets ask."""
        if layer is not None or not self.only_asked:
            return self.at(layer)[slots]
        assert self.stream.asked is not None
        return self.features.data[self.stream.asked.row[slots]]

    def in_store(self, num_tokens: int, layer: int | None = None) -> Tensor:
        """(P, D) in store coordinates, zeros where the stream has no slot."""
        features = self.at(layer)
        held = (self.stream.source >= 0).nonzero().squeeze(1)
        return features.new_zeros(num_tokens, features.shape[1]).index_copy(0, self.stream.source[held], features[held])


@dataclass(frozen=True)
class Prediction:
    """``features`` (N, D') at the targets only; ``head`` maps them to logits or values and may be applied in chunks. ``stream``
    holds the targets, ``context`` is what the encoder read (the same stream for a head in place)."""

    features: Tensor
    head: Callable[[Tensor], Tensor]
    targets: Targets
    stream: Stream
    context: Stream
    modality: str


@dataclass(frozen=True)
class Result:
    """What one pass gave: its encoder's features and its predictions by term name."""

    encoded: Encoded
    predictions: Mapping[str, Prediction]


@dataclass(frozen=True)
class Run:
    """What a component on the device may read: the batch and the results of earlier passes (and of the current one)."""

    batch: MaskedBatch
    results: Mapping[str, Result]


PairBias: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""What is added to attention's logits: slots that ask (n, L_q) and slots that are seen (n, L_k) -> (n, H, L_q, L_k), or (1, ...)
where that is the same for all n."""


@dataclass(frozen=True)
class Placement:
    """What a position component gives a stream; every part may be None.

    ``added`` (T, D) to the embeddings; ``rotation`` (cos, sin) each (T, head_width), for queries and keys; ``bias`` for the logits
    of pairs of the stream's slots.
    """

    added: Tensor | None = None
    rotation: tuple[Tensor, Tensor] | None = None
    bias: PairBias | None = None

    def unbiased(self, reader: str) -> Placement:
        """Itself, for a reader that has no use for a bias. Raises ``ValueError`` where there is one."""
        if self.bias is not None:
            raise ValueError(f"{reader} cannot bias its attention; choose another position than one that only biases (alibi)")
        return self
