"""The public interfaces, and the data types that they exchange.

Shapes: L tokens of one sample and modality; P store tokens of a batch (all samples and modalities); T slots and S sequences of
a stream; N targets; B samples; D width; A position axes. On the host arrays are NumPy, on the device they are torch tensors; the
dataclasses are the same. Every dataclass here is frozen: nothing mutates its input.

*Store coordinates*: a batch holds its clean tokens once, modality after modality, and every token has one index in ``[0, P)``.
Streams point into the store and features scatter back to it, so embedding, teacher targets and latent inputs are all gathers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from omnimask.model import MaskedModel

Array: TypeAlias = Any
"""``numpy.ndarray`` on the host, ``torch.Tensor`` on the device."""

AttentionKind: TypeAlias = Literal["full", "causal", "ranked"]

# ---- what a modality is: capabilities, the only thing that the core asks about ------------------------------------------


@dataclass(frozen=True)
class FieldSpec:
    """Declares a named array that travels with a sample, its tokens, or its pairs of tokens.

    ``arity`` is 0 for one value per sample (a label), 1 per token, 2 per ordered pair of tokens. ``classes`` is the number of
    classes of an integer field. An absent value is NaN in a float field and -1 in an integer field.
    """

    dtype: str
    shape: tuple[int, ...] = ()
    arity: Literal[0, 1, 2] = 1
    classes: int | None = None


@dataclass(frozen=True)
class TokenSpec:
    """What the tokens of one modality are; the core knows a modality by nothing else.

    Args:
        vocabulary: ids lie in ``[0, vocabulary)``; None when tokens have continuous content.
        width: shape of one token's continuous content; None when tokens are ids.
        axes: A, the number of position axes.
        extent: the size of each position axis where it is bounded, None where it is not. Empty means all unbounded.
        dtype: storage type of continuous content; it stays so (``uint8`` say) until the device.
        mean, std: continuous content becomes ``(content - mean) / std``, in units of the stored content, broadcast over ``width``.
        special_ids: ids that the tokenizer itself owns, by name (``mask``, ``end``), inside ``[0, vocabulary)``.
        specials: names that corruptors insert and the tokenizer does not own, set by the builder; ``specials[i]`` has id
            ``vocabulary + i`` (``i`` for continuous content).
        answers: how many of ``specials``, from the first, may be answers; a head over ids has ``vocabulary + answers`` outputs.
        fields: arrays that come with the tokens.
    """

    vocabulary: int | None = None
    width: tuple[int, ...] | None = None
    axes: int = 1
    extent: tuple[int | None, ...] = ()
    dtype: str = "float32"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    special_ids: Mapping[str, int] = field(default_factory=dict[str, int])
    specials: tuple[str, ...] = ()
    answers: int = 0
    fields: Mapping[str, FieldSpec] = field(default_factory=dict[str, FieldSpec])

    def __post_init__(self) -> None:
        if self.vocabulary is not None and self.width is not None:
            raise ValueError("a TokenSpec has a vocabulary or a width, not both")
        if self.extent and len(self.extent) != self.axes:
            raise ValueError(f"extent {self.extent} needs one size per position axis, and there are {self.axes}")

    def id(self, name: str) -> int:
        """Id of a special token: the tokenizer's own, else one after the vocabulary.

        Raises:
            KeyError: no component of the recipe reserved ``name``.
        """
        if name in self.special_ids:
            return self.special_ids[name]
        if name not in self.specials:
            raise KeyError(f"no special token {name!r} is reserved; reserved: {[*self.special_ids, *self.specials]}")
        return (self.vocabulary or 0) + self.specials.index(name)

    @property
    def num_special_rows(self) -> int:
        """How many learned rows an embedding needs beside the vocabulary."""
        return len(self.specials)

    @property
    def num_answers(self) -> int:
        """Outputs of a head over ids: the vocabulary and the specials that may be answers."""
        if self.vocabulary is None:
            raise ValueError("tokens with continuous content have no ids to answer with")
        return self.vocabulary + self.answers


@dataclass(frozen=True)
class Tokens:
    """One modality of one sample: ``content`` (L,) ids or (L, *width), ``positions`` (L, A) float32, ``fields`` by name."""

    content: Array
    positions: Array
    fields: Mapping[str, Array] = field(default_factory=dict[str, Array])

    def __len__(self) -> int:
        return len(self.positions)


# ---- randomness -----------------------------------------------------------------------------------------------------------

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True)
class Draw:
    """Where every random choice about one sample comes from: never from a worker, a rank or what ran before.

    Args:
        seed: the run's seed.
        epoch: how often the whole data set was seen before this visit.
        key: names the sample (its source included).
        position: place in the epoch's order, for stratified draws.
        progress: share of the run done at this place, in [0, 1], for schedules; never a step counter.
        group: keys of the samples that belong together (mismatched pairs, in-batch negatives).
        stage: prefix of every purpose; each stage of the pipeline has its own (see :meth:`at`).
    """

    seed: int
    epoch: int
    key: str
    position: int = 0
    progress: float = 0.0
    group: tuple[str, ...] = ()
    stage: tuple[str | int, ...] = ()

    def at(self, *stage: str | int) -> Draw:
        """The same draw in a stage of its own, so that two stages never share random numbers."""
        return Draw(self.seed, self.epoch, self.key, self.position, self.progress, self.group, (*self.stage, *stage))

    def _digest(self, purpose: tuple[str | int, ...]) -> bytes:
        text = repr((self.seed, self.epoch, self.key, self.stage, purpose))
        return blake2b(text.encode(), digest_size=16).digest()

    def rng(self, *purpose: str | int) -> np.random.Generator:
        """A generator keyed by (seed, epoch, key, stage, purpose). Costs some 20 microseconds; see :meth:`uniform`."""
        return np.random.Generator(np.random.Philox(key=int.from_bytes(self._digest(purpose), "little")))

    def uniform(self, count: int, *purpose: str | int) -> NDArray[np.float64]:
        """(count,) uniform numbers in [0, 1), by a keyed hash (SplitMix64 of a counter), for where speed matters [0].

        [0] Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014.
        """
        start = np.uint64(int.from_bytes(self._digest(purpose)[:8], "little"))
        state = start + _GOLDEN * np.arange(1, count + 1, dtype=np.uint64)
        state = (state ^ (state >> np.uint64(30))) * _MIX_1
        state = (state ^ (state >> np.uint64(27))) * _MIX_2
        return ((state ^ (state >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53


# ---- host: from files to views -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """All modalities of one sample. An absent modality is absent here and has length 0 when packed.

    Tokens have *sample coordinates*: modality after modality in the order of ``tokens``, from 0. ``modalities`` are the recipe's,
    in order; ``Stream.modality`` counts in them.
    """

    tokens: Mapping[str, Tokens]
    draw: Draw
    modalities: tuple[str, ...]
    labels: Mapping[str, Array] = field(default_factory=dict[str, Array])

    @cached_property
    def start(self) -> Mapping[str, int]:
        """Sample coordinate of each modality's first token."""
        starts: dict[str, int] = {}
        total = 0
        for name, tokens in self.tokens.items():
            starts[name] = total
            total += len(tokens)
        return starts

    @cached_property
    def modality(self) -> NDArray[np.int64]:
        """(n,) index of every token's modality."""
        parts = [np.full(len(tokens), self.modalities.index(name)) for name, tokens in self.tokens.items()]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    @cached_property
    def positions(self) -> NDArray[np.float32]:
        """(n, A) of all tokens; modalities with fewer axes than the sample's largest number have zeros in the last ones."""
        axes = max((tokens.positions.shape[1] for tokens in self.tokens.values()), default=1)
        out = np.zeros((len(self), axes), np.float32)
        for name, tokens in self.tokens.items():
            start = self.start[name]
            out[start : start + len(tokens), : tokens.positions.shape[1]] = tokens.positions
        return out

    def __len__(self) -> int:
        return sum(len(tokens) for tokens in self.tokens.values())

    def only(self, modality: str) -> Sample:
        """The sample restricted to one modality (coordinates start anew, modality numbers stay)."""
        return Sample({modality: self.tokens[modality]}, self.draw, self.modalities, self.labels)


@dataclass(frozen=True)
class Masking:
    """What is withheld from one modality and what must be answered; the two are independent.

    ``is_visible`` (L,) appears untouched; ``is_target`` (L,) must be answered; ``unit`` (L,) id of the span, word or block that is
    hidden as one, -1 for none (two adjacent spans stay two); ``weight`` (L,) loss weight, 1 if None; ``level`` the rate drawn.

    ``groups`` (U, L) bool: sets of targets that are answered together, each by itself. They may overlap, may be empty, and their
    union is ``is_target``. None: all targets are one set. Corruptors that answer in the context ask for every target once, whatever
    its sets.
    """

    is_visible: Array
    is_target: Array
    unit: Array | None = None
    weight: Array | None = None
    level: float = 0.0
    groups: Array | None = None


@dataclass(frozen=True)
class Targets:
    """Which slot answers for what.

    ``at`` (N, arity) slots of this stream (arity 0: (N, 1) sequences); ``of`` (N,) store index of the answer or -1; ``literal``
    (N,) id of an answer that is no token of the store (a sentinel, an end), or -1; ``weight`` (N,) float32; ``index`` (N,) which
    answer, where one slot has several (n-grams, codebooks). ``spans``: rows ``[start, stop)`` of each modality; rows are sorted by
    modality when a batch is packed, so that a predictor of one modality takes a slice.
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


CONTENT, NOTHING = -1, -2


@dataclass(frozen=True)
class Stream:
    """What a network reads: T slots, each pointing to a store token or holding an inserted id.

    Slot i sees slot j iff they lie in one sequence and ``rank[j] < rank[i] or (rank[j] == rank[i] and block[j] == block[i])``:
    rank 0 everywhere is bidirectional, counting up is causal, 0..0,1,2.. is a prefix, a block of one's own is a query only.

    ``source`` (T,) store index this slot stands for, -1: inserted. ``literal`` (T,) id shown instead of the source's content,
    -1 (``CONTENT``): content is shown, -2 (``NOTHING``): only the position is. ``modality`` (T,) index into the recipe's
    modalities. ``positions`` (T, A), ``has_position`` (T,). ``noise`` (T,) float64 uniform, keyed: every discrete choice on the
    device uses it; None if no component asks. ``kind``, ``level`` (S,) per sequence: branch of a mixture, rate drawn. ``reads`` by
    modality is filled in when a batch is packed.
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


@dataclass(frozen=True)
class View:
    """``context`` is read by a pass's encoder, ``query`` by a predictor's decoder (its parents are context sequences).

    ``fields`` are arity-2 fields that this view shows instead of the store's.
    """

    context: Stream
    query: Stream | None = None
    fields: Mapping[str, Array] = field(default_factory=dict[str, Array])


@dataclass(frozen=True)
class MaskedBatch:
    """The clean tokens of B samples, once, and the views that point into them.

    ``store`` content of each modality (P_m, ...), one sequence per sample (length 0 where absent); ``base`` store index of each
    modality's first token; ``fields[modality][name]`` (P_m, ...) or (sum L^2, ...); ``labels`` (B, ...); ``views`` by name;
    ``group`` (B,) samples with one id are never split over micro-batches or ranks; ``keys`` name the samples.
    """

    store: Mapping[str, Packed]
    base: Mapping[str, int]
    views: Mapping[str, View]
    group: Array
    keys: tuple[str, ...]
    fields: Mapping[str, Mapping[str, Array]] = field(default_factory=dict[str, Mapping[str, Array]])
    labels: Mapping[str, Array] = field(default_factory=dict[str, Array])

    @property
    def num_samples(self) -> int:
        return len(self.keys)

    @property
    def num_tokens(self) -> int:
        """Tokens before masking, of all modalities."""
        return sum(packed.layout.num_slots for packed in self.store.values())


# ---- what components receive -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Context:
    """The one positional constructor argument of every component; new fields never break a plugin.

    ``specs`` of all modalities in the recipe's order; ``modalities`` this component serves; ``labels`` declared by the recipe;
    ``width`` of the encoder whose features are read (0 on the host), ``depth`` how many layers and ``summary`` how many summary
    vectors it has;
    ``embeddings`` by modality, for heads tied to them; ``passes`` widths of the earlier passes; ``layer`` the tap that is read,
    None for the last layer; ``label`` the name of a predictor's loss terms; ``num_heads`` of the attention that a position
    component serves and ``head_width`` the width of one head (0 elsewhere).
    """

    specs: Mapping[str, TokenSpec] = field(default_factory=dict[str, TokenSpec])
    modalities: tuple[str, ...] = ()
    labels: Mapping[str, FieldSpec] = field(default_factory=dict[str, FieldSpec])
    width: int = 0
    depth: int = 0
    summary: int = 0
    embeddings: Mapping[str, Embedding] = field(default_factory=dict)  # pyright: ignore[reportUnknownVariableType]
    passes: Mapping[str, int] = field(default_factory=dict[str, int])
    layer: int | None = None
    label: str = ""
    num_heads: int = 0
    head_width: int = 0


@dataclass(frozen=True)
class LossTerm:
    """``total`` () weighted sum over this micro-batch; ``exact`` False for a batch statistic, which a split changes."""

    name: str
    total: Tensor
    exact: bool = True


@dataclass(frozen=True)
class Encoded:
    """What an encoder gives: ``features`` (T, D) in the coordinates of ``stream``; ``layers`` (T, D) of the taps asked for,
    1 is the output of the first block; ``summary`` (S, R, D) of class or register tokens."""

    features: Packed
    stream: Stream
    layers: Mapping[int, Tensor] = field(default_factory=dict[int, Tensor])
    summary: Tensor | None = None

    def at(self, layer: int | None) -> Tensor:
        """(T, D) of a tapped layer, or the last layer's for None."""
        return self.features.data if layer is None else self.layers[layer]

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


# ---- the interfaces ------------------------------------------------------------------------------------------------------------


@runtime_checkable
class Dataset(Protocol):
    """Host. Samples by index; picklable to workers. A raw value that is ``bytes`` goes through the modality's decoder."""

    def __len__(self) -> int: ...
    def key(self, index: int) -> str:
        """Names the sample for draws, splits and messages; unique, and stable when files are added elsewhere."""
        ...

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """Raw values by field name. Raises ``OSError`` or ``ValueError`` for a bad sample, which is then skipped and counted."""
        ...

    def fingerprint(self) -> str:
        """Digest of what the order depends on (keys, sizes), so that a resume on other data is refused."""
        ...


@runtime_checkable
class Decoder(Protocol):
    """Host. Bytes of a file -> raw value. Raises ``ValueError`` for bytes it cannot read. See also :class:`ReadsShape`."""

    def __call__(self, data: bytes) -> Any: ...


@runtime_checkable
class ReadsShape(Protocol):
    """What a decoder may offer: ``shape`` of the array that the bytes decode to, from the file's header.

    Where the decoder reads shapes and the tokenizer is a :class:`CountsShape`, a data set's tokens are counted without decoding.
    """

    def shape(self, data: bytes) -> tuple[int, ...]: ...


@runtime_checkable
class CountsShape(Protocol):
    """What a tokenizer may offer: the number of tokens of any array of a shape; ``ValueError`` for a shape that it refuses."""

    def count_of_shape(self, shape: tuple[int, ...]) -> int: ...


@runtime_checkable
class Augment(Protocol):
    """Host, before the tokenizer: raw -> raw, all randomness from the draw."""

    def __call__(self, raw: Any, draw: Draw) -> Any: ...


@runtime_checkable
class Tokenizer(Protocol):
    """Host: what is a unit of this modality? Picklable to workers, holds no device weights.

    Class attributes: ``decoder`` names the component that reads bytes (None: values arrive decoded), ``embedded`` the data set
    that a smoke run uses, ``renderer`` the component that draws reconstructions.
    """

    decoder: ClassVar[str | None]
    embedded: ClassVar[str | None]
    renderer: ClassVar[str | None]

    @property
    def spec(self) -> TokenSpec: ...
    def __call__(self, raw: Any, draw: Draw) -> Tokens: ...
    def decode(self, tokens: Tokens) -> Any:
        """The raw value that tokens stand for (an image, a text)."""
        ...

    def count(self, raw: Any) -> int | None:
        """Number of tokens of a raw value, cheaply; ``raw`` is None when nothing was read yet. None: not known before reading."""
        ...


@runtime_checkable
class Masker(Protocol):
    """Host: what is withheld from one modality, and what must be answered?"""

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking: ...


@runtime_checkable
class JointMasker(Protocol):
    """Host: a masker over all modalities of a sample at once (conditional masking, shared budgets)."""

    def __call__(self, sample: Sample) -> Mapping[str, Masking]: ...


@runtime_checkable
class Corruptor(Protocol):
    """Host: what does the network read instead? Masking -> View; removes, inserts, reorders, substitutes.

    ``specials`` are the names it inserts, reserved by the builder for every modality it serves; the first ``num_answers`` of them
    may also be answers. ``answers_in`` says where its targets lie: in the ``context`` or in the ``query`` stream.
    """

    answers_in: ClassVar[Literal["context", "query"]]

    @property
    def specials(self) -> tuple[str, ...]: ...
    @property
    def num_answers(self) -> int: ...
    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View: ...


@runtime_checkable
class Embedding(Protocol):
    """Device, ``nn.Module``. ``is_local`` False: it mixes tokens, so it must run as a pass on the clean view."""

    is_local: bool

    def __call__(self, content: Tensor) -> Tensor:
        """(n,) ids, (n, vocabulary) soft ids or (n, *width) content in storage type -> (n, D)."""
        ...

    def ids(self, literal: Tensor) -> Tensor:
        """(n,) ids, specials included -> (n, D)."""
        ...


@dataclass(frozen=True)
class Placement:
    """What a position component gives a stream: ``added`` (T, D) to the embeddings, ``rotation`` (cos, sin) each (T, head_width),
    for queries and keys; either may be None."""

    added: Tensor | None = None
    rotation: tuple[Tensor, Tensor] | None = None


@runtime_checkable
class Position(Protocol):
    """Device, ``nn.Module``: where a slot is. Slots without ``has_position`` get nothing."""

    def __call__(self, stream: Stream) -> Placement: ...


@runtime_checkable
class Encoder(Protocol):
    """Device, ``nn.Module``: a view -> features. ``width`` D, ``depth`` its number of layers, ``num_summary`` R."""

    width: int
    depth: int
    num_summary: int

    def __call__(
        self, embedded: Packed, stream: Stream, batch: MaskedBatch, *, context: Encoded | None = None, layers: Sequence[int] = ()
    ) -> Encoded: ...


@runtime_checkable
class Target(Protocol):
    """Inside a predictor: what is the right answer, and which loss measures it? An ``nn.Module`` when it has weights."""

    num_outputs: int

    def answers(self, prediction: Prediction, run: Run) -> Tensor:
        """(N, ...) what is right."""
        ...

    def loss(self, prediction: Prediction, answers: Tensor) -> Tensor:
        """(N,) unweighted, unreduced."""
        ...

    def content(self, prediction: Prediction, run: Run) -> Tensor | None:
        """(N, *width) content or (N,) ids that the prediction stands for, to look at; None if it is no content."""
        ...


@runtime_checkable
class Predictor(Protocol):
    """Device, ``nn.Module``: decoder, head and target. ``reads`` says in which stream of a view it answers."""

    reads: ClassVar[Literal["context", "query"]]
    layers: Sequence[int]

    def target(self, modality: str) -> Target: ...

    def select(self, view: View) -> Mapping[str, Targets]:
        """The rows that it answers, by term; host-known."""
        ...

    def counts(self, batch: MaskedBatch, view: View) -> Mapping[str, float]:
        """Denominators by term, known before any forward."""
        ...

    def predict(self, encoded: Encoded, view: View, run: Run) -> Mapping[str, Prediction]:
        """Predictions by term; reads no answers, so that generation and export use it too."""
        ...

    def losses(self, predictions: Mapping[str, Prediction], run: Run) -> Sequence[LossTerm]: ...


@runtime_checkable
class Initializer(Protocol):
    """Gives a model that was just built the weights that it begins with, from a file of another program."""

    def __call__(self, model: MaskedModel) -> None:
        """Copies weights into ``model``.

        Raises:
            ValueError: the file is not there or of a form that is not read, or names or shapes do not fit; it says which.
        """
        ...


@dataclass(frozen=True)
class Reconstruction:
    """One sample to look at: raw values of the original, of what the network could see, and of the filled-in whole
    (None where no model filled anything in)."""

    key: str
    original: Any
    visible: Any
    filled: Any


@runtime_checkable
class Renderer(Protocol):
    """Draws reconstructions of one modality into a file (a picture, a page) and returns its path."""

    suffix: ClassVar[str]

    def __call__(self, reconstructions: Sequence[Reconstruction], path: Path, *, title: str = "") -> Path: ...


@dataclass(frozen=True)
class Suggestion:
    """A recipe for a user's folder: ``num_files`` of it are read by ``modality``, ``summary`` says by name what was seen, and
    ``recipe`` is YAML with comments that say why each number was chosen."""

    modality: str
    num_files: int
    summary: Mapping[str, str]
    recipe: str


@runtime_checkable
class Suggester(Protocol):
    """Looks at a user's folder and writes a recipe for it; all its constructor's options have defaults."""

    def __call__(self, folder: Path) -> Suggestion | None:
        """None if the folder, an absolute path, holds nothing of this modality.

        Raises:
            ValueError: it holds files of this modality, and none of those looked at can be read.
        """
        ...


class Module(nn.Module):
    """Base of device components: an ``nn.Module`` whose class may declare ``smoke``, its shrunken options for a smoke run.

    Any component class may: a mapping from options to small values (numbers become the smaller of the two), or a static method from
    the recipe's options to those that change, where several options depend on each other.
    """

    smoke: ClassVar[Mapping[str, Any]] = {}
