"""Protocols of components on the host, from data sets to corruptors. L tokens of one sample and modality."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from omnimask.interfaces.batch import View
from omnimask.interfaces.draw import Draw
from omnimask.interfaces.tokens import Masking, Sample, Tokens, TokenSpec


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
