"""The public interfaces, and the one place to import them and their data types from.

Shapes: L tokens of one sample and modality; P store tokens of a batch (all samples and modalities); T slots and S sequences of
a stream; N targets; B samples; D width; A position axes. On the host arrays are NumPy, on the device they are torch tensors; the
dataclasses are the same. Every dataclass is frozen: nothing mutates its input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from omnimask.answers import Blank, Candidate, OfSamples, RanksIds, Scores
from omnimask.batch import (
    CONTENT,
    NOTHING,
    Asked,
    AttentionKind,
    Encoded,
    Layout,
    LossTerm,
    MaskedBatch,
    Packed,
    PairBias,
    Pairs,
    Placement,
    Prediction,
    Reads,
    Result,
    Run,
    Stream,
    Targets,
    View,
)
from omnimask.draw import Draw
from omnimask.exchange import Exported, Exporter, Initializer, Trained
from omnimask.paths import LocalOrName
from omnimask.tokens import Array, FieldSpec, Masking, Sample, Tokens, TokenSpec

__all__ = [
    "CONTENT",
    "NOTHING",
    "Array",
    "Asked",
    "AttentionKind",
    "Augment",
    "Blank",
    "Candidate",
    "Context",
    "Corpus",
    "Corruptor",
    "CountsShape",
    "Dataset",
    "Decoder",
    "Draw",
    "Embedding",
    "Encoded",
    "Encoder",
    "Exported",
    "Exporter",
    "FieldSpec",
    "FindsData",
    "Initializer",
    "JointMasker",
    "Layout",
    "LocalOrName",
    "LossTerm",
    "MaskedBatch",
    "Masker",
    "Masking",
    "Module",
    "OfSamples",
    "Packed",
    "PairBias",
    "Pairs",
    "Placement",
    "Position",
    "Prediction",
    "Predictor",
    "RanksIds",
    "Reads",
    "ReadsShape",
    "ReadsSpelled",
    "Reconstruction",
    "Renderer",
    "Result",
    "Run",
    "Sample",
    "Scores",
    "Shortens",
    "Splits",
    "Stream",
    "Suggester",
    "Suggestion",
    "Target",
    "Targets",
    "TokenSpec",
    "Tokenizer",
    "Tokens",
    "Trained",
    "Transform",
    "View",
]


@dataclass(frozen=True)
class Context:
    """The one positional constructor argument of every component; new fields never break a plugin.

    ``specs`` of all modalities in the recipe's order; ``modalities`` this component serves; ``labels`` declared by the recipe;
    ``corpora`` of the training samples by modality, for maskers and transforms;
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
    corpora: Mapping[str, Corpus] = field(default_factory=dict)  # pyright: ignore[reportUnknownVariableType]
    embeddings: Mapping[str, Embedding] = field(default_factory=dict)  # pyright: ignore[reportUnknownVariableType]
    passes: Mapping[str, int] = field(default_factory=dict[str, int])
    layer: int | None = None
    label: str = ""
    num_heads: int = 0
    head_width: int = 0


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
        """Digest of the keys and contents, wherever the data lie, so that a resume on other data is refused."""
        ...


class Corpus(Protocol):
    """Host: the tokens of one modality in all training samples, for components that learn from them before training.

    Iterating reads the samples, without augmentation and before any transform of groups, in an order that is a fair sample of them
    from its beginning; what cannot be read is left out. What is learnt belongs into a cache, under a key with the fingerprint.
    """

    def __iter__(self) -> Iterator[Tokens]: ...
    def raw(self) -> Iterator[Any]:
        """The decoded raw values instead, for components that work on those."""
        ...

    def fingerprint(self) -> str:
        """Digest of what the tokens depend on."""
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
class Transform(Protocol):
    """Host, before augmentation: what is done to the samples of a group together (``data.group``).

    ``growth`` says how many times as many tokens its rows have as the samples that it is given, at most.
    """

    growth: float

    def __call__(self, rows: Sequence[Mapping[str, Any]], draws: Sequence[Draw]) -> Sequence[Mapping[str, Any]]:
        """Rows of a group -> the rows that become its samples, as many as it likes.

        A row has the decoded raw value of every modality that is there, by the modality's name, and the value of every label that
        is there, by the label's. ``rows`` has one row for each sample that could be read, at least one and at most the group's
        size, and ``draws`` theirs. What is given is never changed. ``ValueError`` where a group cannot be used: it then is bad.
        """
        ...


@runtime_checkable
class Tokenizer(Protocol):
    """Host: what is a unit of this modality? Picklable to workers, holds no device weights.

    Class attributes: ``decoder`` names the component that reads bytes (None: values arrive decoded), ``embedded`` the data set
    that a smoke run uses, or is a static method from the tokenizer's options to its name, ``renderer`` names the component that
    draws reconstructions.
    """

    decoder: ClassVar[str | None]
    embedded: ClassVar[Any]
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
class Splits(Protocol):
    """What a tokenizer may offer: a raw value that is too long for one sample is cut into parts, and nothing of it is lost.

    Where the tokenizer of a recipe's only modality splits, the samples of its data set are the parts.
    """

    def split(self, raw: Any) -> Sequence[tuple[int, int, int]]:
        """(start, stop, tokens) of the parts, in order, in units of the tokenizer's choice; empty if ``raw`` holds nothing."""
        ...

    def part(self, raw: Any, start: int, stop: int) -> Any:
        """The raw value of one part, which becomes ``tokens`` tokens."""
        ...


@runtime_checkable
class ReadsSpelled(Protocol):
    """Optional capability of a tokenizer that reads all of a training text literally, special tokens' names included."""

    def reading_spelled(self) -> Tokenizer:
        """Return a copy for typed text, which reads the spelling of a special token (``[MASK]``) as that token."""
        ...


@runtime_checkable
class Shortens(Protocol):
    """What a tokenizer may offer: a raw value that became too long on the way (by augmentation, or by a transform) is cut down to
    what fits one sample, so that of a value of several parts each keeps something. The rest is lost."""

    def shorten(self, raw: Any) -> Any:
        """The raw value, or as much of it as fits; ``ValueError`` where nothing does."""
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


@runtime_checkable
class Position(Protocol):
    """Device, ``nn.Module``: where a slot is. Slots without ``has_position`` get nothing."""

    def __call__(self, stream: Stream) -> Placement: ...


@runtime_checkable
class Encoder(Protocol):
    """Device, ``nn.Module``: a view -> features. ``width`` D, ``depth`` its number of layers, ``num_summary`` R.

    An encoder may take one more keyword, ``only_asked``: where that is True, it may give the last layer's features of the stream's
    asked slots alone (:class:`Asked`), and then says so in :class:`Encoded`. It is asked to where all predictors of its pass read
    nothing else.
    """

    width: int
    depth: int
    num_summary: int

    def __call__(
        self, embedded: Packed, stream: Stream, batch: MaskedBatch, *, context: Encoded | None = None, layers: Sequence[int] = ()
    ) -> Encoded: ...


@runtime_checkable
class Target(Protocol):
    """Inside a predictor: what is the right answer, and which loss measures it? An ``nn.Module`` when it has weights.

    A target whose ``content`` is not the prediction's alone says so in an attribute ``content_note``, for pictures. See also
    :class:`Scores` and :class:`RanksIds`, which it may offer.
    """

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
    """Device, ``nn.Module``: decoder, head and target. ``reads`` says in which stream of a view it answers.

    One with an attribute ``answers_sequences`` that is True answers for labels of whole sequences, whatever the corruptor asks.

    A predictor with an attribute ``needs_noise`` that is True draws on the device by ``Stream.noise`` of the stream that it reads.

    A predictor with an attribute ``reads_asked`` that is True reads the encoder's last layer at the slots that its targets ask, by
    :meth:`Encoded.at_slots`, and nothing else of it.
    """

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


@dataclass(frozen=True)
class Reconstruction:
    """One sample to look at: raw values of the original, of what the network could see, and of the filled-in whole
    (None where no model filled anything in). ``note`` says what of ``filled`` is not the model's answer; a renderer shows it.

    Where tokens are ids and their raw value is a text, ``pieces`` is what each token adds to the text (nothing for those that frame
    it), so that joined they are ``original``. ``blanks`` are the tokens that a model was asked for, in order, where tokens are ids.

    Where tokens are continuous and raw values are arrays, ``is_hidden`` is a boolean array of the shape of ``visible``: True for
    numbers that the network does not see.
    """

    key: str
    original: Any
    visible: Any
    filled: Any
    note: str = ""
    pieces: tuple[str, ...] = ()
    blanks: tuple[Blank, ...] = ()
    is_hidden: Array | None = None


@runtime_checkable
class Renderer(Protocol):
    """Draws reconstructions of one modality into a file (a picture, a page) and returns its path."""

    suffix: ClassVar[str]

    def __call__(self, reconstructions: Sequence[Reconstruction], path: Path, *, title: str = "") -> Path: ...


@dataclass(frozen=True)
class Suggestion:
    """A recipe for a user's folder: ``num_files`` of it are read by ``modality``, ``summary`` says by name what was seen, and
    ``recipe`` is YAML with comments that say why each number was chosen. ``needs`` is what a command that reads the recipe must
    give beside it, ``data.path=FOLDER`` for a folder with a model and no data."""

    modality: str
    num_files: int
    summary: Mapping[str, str]
    recipe: str
    needs: str = ""


@runtime_checkable
class FindsData(Protocol):
    """What a suggester may offer: the modality of the files at a path, and the ``data`` section that reads them, without its path;
    None where it knows none of them. So a path alone (``data.path=FOLDER``) is enough for a recipe on embedded data."""

    def data(self, path: Path) -> tuple[str, Mapping[str, Any]] | None: ...


@runtime_checkable
class Suggester(Protocol):
    """Looks at a user's folder, or a single file, and writes a recipe for it; all its constructor's options have defaults."""

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
