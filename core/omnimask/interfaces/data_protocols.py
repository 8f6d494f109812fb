"""Protocols of components on the host, from data sets to corruptors. L tokens of one sample and modality."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces.batch import View
from omnimask.interfaces.columns import MaskingColumns, PartColumns, SampleColumns, TokenColumns
from omnimask.interfaces.draw import Draw
from omnimask.interfaces.draws import Draws
from omnimask.interfaces.tokens import Array, Masking, Sample, Tokens, TokenSpec


@runtime_checkable
class Dataset(Protocol):
    """Host. Map-style access to samples; picklable to workers. A raw value of type ``bytes`` passes through the modality's
    decoder."""

    def __len__(self) -> int: ...
    def key(self, index: int) -> str:
        """Return the sample's key for draws, splits and messages. Unique, and unchanged when other files are added."""
        ...

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """Return raw values by field name. Raise ``OSError`` or ``ValueError`` for a bad sample, which is then skipped and
        counted."""
        ...

    def fingerprint(self) -> str:
        """Return a digest of keys and contents, independent of the data's location. A resumed run on other data is refused."""
        ...


@runtime_checkable
class ReadsMany(Dataset, Protocol):
    """Optional capability of a data set that reads neighboring samples faster than one by one."""

    def read_many(self, indices: Sequence[int]) -> Iterator[Mapping[str, Any] | Exception]:
        """Yield the sample of each index, in order, or the ``OSError`` or ``ValueError`` that ``self[index]`` raises.

        It may read ahead, as far as its own bound on memory allows.
        """
        ...


class Corpus(Protocol):
    """Host. The tokens of one modality in all training samples, for components that collect statistics before training.

    Samples are read without augmentation and before group transforms, in an order whose every prefix is a fair sample. Unreadable
    samples are skipped. Cache the results under a key that includes the fingerprint.
    """

    def __iter__(self) -> Iterator[Tokens]: ...
    def raw(self) -> Iterator[Any]:
        """Yield decoded raw values instead of tokens."""
        ...

    def fingerprint(self) -> str:
        """Return a digest of everything that determines the tokens."""
        ...


@runtime_checkable
class Decoder(Protocol):
    """Host. Bytes of a file -> raw value. Raises ``ValueError`` for unsupported bytes. See also :class:`ReadsShape`."""

    def __call__(self, data: bytes) -> Any: ...


@runtime_checkable
class ReadsShape(Protocol):
    """Optional capability of a decoder: ``shape`` of the decoded array, read from the file's header.

    Together with a tokenizer that implements :class:`CountsShape`, tokens of a data set are counted without decoding.
    """

    def shape(self, data: bytes) -> tuple[int, ...]: ...


@runtime_checkable
class CountsShape(Protocol):
    """Optional capability of a tokenizer: number of tokens for an array of a given shape. Raises ``ValueError`` for unsupported
    shapes."""

    def count_of_shape(self, shape: tuple[int, ...]) -> int: ...


@runtime_checkable
class Augment(Protocol):
    """Host, before the tokenizer. Random transform raw -> raw; all randomness comes from the draw."""

    def __call__(self, raw: Any, draw: Draw) -> Any: ...


@runtime_checkable
class Transform(Protocol):
    """Host, before augmentation. Joint transform of the samples of a group (``data.group``).

    ``growth`` is the maximum ratio of output tokens to input tokens.
    """

    growth: float

    def __call__(self, rows: Sequence[Mapping[str, Any]], draws: Sequence[Draw]) -> Sequence[Mapping[str, Any]]:
        """Convert the rows of a group to the rows that become its samples, of any number.

        A row maps the name of every present modality to its decoded raw value, and the name of every present label to its value.
        ``rows`` has one row per readable sample, from one to the group's size, with their ``draws``. Inputs must not be modified.
        Raise ``ValueError`` if a group is unusable; it is then counted as bad.
        """
        ...


@runtime_checkable
class Tokenizer(Protocol):
    """Host. Converts raw values to tokens and back. Picklable to workers; holds no device weights.

    Class attributes: ``decoder`` names the component that reads bytes (None: values arrive decoded). ``embedded`` names the data
    set of a smoke run, or is a static method from the tokenizer's options to this name. ``renderer`` names the component that draws
    reconstructions.
    """

    decoder: ClassVar[str | None]
    embedded: ClassVar[Any]
    renderer: ClassVar[str | None]

    @property
    def spec(self) -> TokenSpec: ...
    def __call__(self, raw: Any, draw: Draw) -> Tokens: ...
    def decode(self, tokens: Tokens) -> Any:
        """Return the raw value of the tokens (an image, a text)."""
        ...

    def count(self, raw: Any) -> int | None:
        """Return the number of tokens of a raw value cheaply, or None if unknown before reading. ``raw`` is None before anything
        is read."""
        ...


@runtime_checkable
class Splits(Protocol):
    """Optional capability of a tokenizer: cuts a raw value that is too long for one sample into parts, without loss.

    If a recipe has one modality and its tokenizer splits, each part is a sample.
    """

    def split(self, raw: Any) -> Sequence[tuple[int, int, int]]:
        """Return (start, stop, tokens) of the parts in order, in units of the tokenizer's choice. Empty if ``raw`` is empty."""
        ...

    def part(self, raw: Any, start: int, stop: int) -> Any:
        """Return the raw value of one part, which becomes ``tokens`` tokens."""
        ...


@runtime_checkable
class SplitsMany(Splits, Protocol):
    """Optional capability of a :class:`Splits` that is faster with many raw values at a time."""

    def split_many(self, raws: Sequence[Any]) -> Sequence[Sequence[tuple[int, int, int]]]:
        """Return ``split(raw)`` of each raw value. Raise ``ValueError`` if one of them raises it."""
        ...


@runtime_checkable
class TokenizesMany(Protocol):
    """Optional capability of a tokenizer without random choices: its tokens can be made once and stored.

    Its tokens of a raw value are the same for every draw.
    """

    def tokenize_many(self, raws: Sequence[Any]) -> Sequence[Sequence[tuple[int, int, Tokens]]]:
        """Return (start, stop, tokens) of the parts of each raw value, in order.

        The parts are those of ``split`` if the tokenizer is a :class:`Splits`. Otherwise each value is one part, from 0 to 0.
        Raise ``ValueError`` if one of the values cannot be tokenized.
        """
        ...


@runtime_checkable
class TokenizesColumns(TokenizesMany, Protocol):
    """Optional capability of a :class:`TokenizesMany` that returns the tokens of many raw values without arrays of their own."""

    def tokenize_columns(self, raws: Sequence[Any]) -> PartColumns:
        """Return the parts of ``tokenize_many(raws)``, concatenated. Raise ``ValueError`` as it does."""
        ...


@runtime_checkable
class LeavesOutFields(Protocol):
    """Optional capability of a tokenizer: makes tokens without the fields that no component of a recipe reads."""

    def keeping(self, names: Collection[str]) -> Tokenizer:
        """Return a tokenizer that leaves out the fields that it can leave out and that are not among ``names``.

        They are missing in the tokens and in ``spec``; everything else is equal.
        """
        ...


@runtime_checkable
class HoldsTokens(Protocol):
    """Optional capability of a data set whose samples are tokenized already."""

    @property
    def counts(self) -> NDArray[np.integer]:
        """Number of tokens of every sample, (N,)."""
        ...

    def held(self, index: int) -> tuple[Mapping[str, Tokens], Mapping[str, Any]]:
        """Return the tokens of a sample by modality, and the values of its labels' fields.

        Raises:
            OSError, ValueError: the sample is unreadable.
        """
        ...


@runtime_checkable
class HoldsColumns(HoldsTokens, Protocol):
    """Optional capability of a :class:`HoldsTokens` that returns the tokens of many samples at once."""

    def held_columns(self, indices: Sequence[int], draws: Draws) -> tuple[Mapping[str, TokenColumns], Mapping[str, Array]] | None:
        """Return the tokens of B samples by modality, and by modality the numbers (B',) of the samples that have it, ascending.

        Return None if one of the samples is unreadable.

        Args:
            indices: of the samples (B).
            draws: of the samples, to be taken over.
        """
        ...


@runtime_checkable
class ReadsSpelled(Protocol):
    """Optional capability of a tokenizer that reads all training text literally, including the names of special tokens."""

    def reading_spelled(self) -> Tokenizer:
        """Return a copy for typed text, which parses the spelling of a special token (``[MASK]``) as this token."""
        ...


@runtime_checkable
class Shortens(Protocol):
    """Optional capability of a tokenizer: truncates a raw value that augmentation or a transform made too long for one sample.

    If a value has several parts, each keeps something. The rest is lost.
    """

    def shorten(self, raw: Any) -> Any:
        """Return the raw value, or as much of it as fits. Raise ``ValueError`` if nothing fits."""
        ...


@runtime_checkable
class Masker(Protocol):
    """Host. Selects the tokens of one modality to hide and the tokens to predict."""

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking: ...


@runtime_checkable
class JointMasker(Protocol):
    """Host. Masks all modalities of a sample together (conditional masking, shared budgets)."""

    def __call__(self, sample: Sample) -> Mapping[str, Masking]: ...


@runtime_checkable
class Corruptor(Protocol):
    """Host. Masking -> View: removes, inserts, reorders or substitutes tokens.

    ``specials`` are the names of inserted tokens, reserved by the builder for every modality it serves; the first ``num_answers``
    of them may also be answers. ``answers_in`` is the stream of its targets: ``context`` or ``query``.

    Optional boolean attribute ``withholds_positions``: it shows content in slots without ``has_position``. Networks with a module
    that has ``needs_positions`` are then refused.
    """

    answers_in: ClassVar[Literal["context", "query"]]

    @property
    def specials(self) -> tuple[str, ...]: ...
    @property
    def num_answers(self) -> int: ...
    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View: ...


@runtime_checkable
class WholeBatchMasker(Masker, Protocol):
    """Optional capability of a masker: masks all samples of a micro-batch at once, which is faster.

    The masker's call for one sample is the definition. Results are equal bit for bit, which the conformance kit checks.
    """

    def mask_batch(self, tokens: TokenColumns) -> MaskingColumns | None:
        """Return the maskings of all samples, or None if columns cannot express them; they are then masked one by one."""
        ...


@runtime_checkable
class WholeBatchJointMasker(JointMasker, Protocol):
    """The capability :class:`WholeBatchMasker` of a joint masker."""

    def mask_batch(self, samples: SampleColumns) -> Mapping[str, MaskingColumns] | None:
        """Return the maskings by modality, each of the samples that have it, or None; see :class:`WholeBatchMasker`."""
        ...


@runtime_checkable
class WholeBatchCorruptor(Protocol):
    """Optional capability of a corruptor: corrupts all samples of a micro-batch at once; see :class:`WholeBatchMasker`."""

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> View: ...
    def corrupt_batch(self, samples: SampleColumns, maskings: Mapping[str, MaskingColumns]) -> View | None:
        """Return one view of all samples, in batch coordinates, or None; the samples are then corrupted one by one.

        The streams hold the samples' sequences in order, as :func:`omnimask.streams.stack` concatenates them: one context sequence
        per sample with its number as ``parent``, and query sequences with that of their context sequence. ``fields`` are the
        samples' arrays, concatenated.
        """
        ...
