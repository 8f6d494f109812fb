"""A modality's specification, and one sample of it on the host: specifications, tokens, samples, maskings.

L tokens of one sample and modality, n of all its modalities; A position axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces.draw import Draw

Array: TypeAlias = Any
"""``numpy.ndarray`` on the host, ``torch.Tensor`` on the device."""
SPECIAL = "special"
"""The boolean field of tokens that are never hidden and never predicted."""


@dataclass(frozen=True)
class FieldSpec:
    """Declaration of a named array that accompanies a sample, its tokens, or its pairs of tokens.

    ``arity`` is 0 for one value per sample (a label), 1 per token, 2 per ordered pair of tokens. ``classes`` is the number of
    classes of an integer field, and ``names`` are their optional names. Missing values are NaN in float fields and -1 in integer
    fields.
    """

    dtype: str
    shape: tuple[int, ...] = ()
    arity: Literal[0, 1, 2] = 1
    classes: int | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class TokenSpec:
    """The core's entire knowledge of a modality's tokens.

    Args:
        vocabulary: ids lie in ``[0, vocabulary)``; None for continuous content.
        width: shape of one token's continuous content; None for ids.
        axes: A, the number of position axes.
        extent: size of each position axis, None for unbounded axes. Empty means all unbounded.
        dtype: storage type of continuous content (``uint8``, for example), kept until the device.
        mean, std: continuous content becomes ``(content - mean) / std``, in units of the stored content, broadcast over ``width``.
        special_ids: the tokenizer's own special ids by name (``mask``, ``end``), inside ``[0, vocabulary)``.
        specials: names inserted by corruptors and not owned by the tokenizer, set by the builder; ``specials[i]`` has id
            ``vocabulary + i`` (``i`` for continuous content).
        answers: how many of ``specials``, from the first, may be answers; a head over ids has ``vocabulary + answers`` outputs.
        fields: accompanying arrays of tokens.
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
            raise ValueError(f"extent {self.extent} needs one size per position axis, of which there are {self.axes}")

    def id(self, name: str) -> int:
        """Return the id of a special token: the tokenizer's own, else one after the vocabulary.

        Raises:
            KeyError: no component of the recipe reserved ``name``.
        """
        if name in self.special_ids:
            return self.special_ids[name]
        if name not in self.specials:
            raise KeyError(f"special token {name!r} is not reserved; reserved: {[*self.special_ids, *self.specials]}")
        return (self.vocabulary or 0) + self.specials.index(name)

    @property
    def num_special_rows(self) -> int:
        """Number of learned rows of an embedding besides the vocabulary."""
        return len(self.specials)

    @property
    def num_answers(self) -> int:
        """Number of outputs of a head over ids: the vocabulary and the specials that may be answers."""
        if self.vocabulary is None:
            raise ValueError("continuous tokens have no ids")
        return self.vocabulary + self.answers


@dataclass(frozen=True)
class Tokens:
    """One modality of one sample: ``content`` (L,) ids or (L, *width), ``positions`` (L, A) float32, ``fields`` by name."""

    content: Array
    positions: Array
    fields: Mapping[str, Array] = field(default_factory=dict[str, Array])

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True)
class Sample:
    """All modalities of one sample. A missing modality is omitted here and has length 0 when packed.

    Tokens have *sample coordinates*: modality after modality in the order of ``tokens``, from 0. ``modalities`` are the recipe's,
    in order; ``Stream.modality`` indexes them.
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
        """Modality index of every token, (n,)."""
        parts = [np.full(len(tokens), self.modalities.index(name)) for name, tokens in self.tokens.items()]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    @cached_property
    def positions(self) -> NDArray[np.float32]:
        """Positions of all tokens, (n, A). Missing trailing axes are zero."""
        axes = max((tokens.positions.shape[1] for tokens in self.tokens.values()), default=1)
        out = np.zeros((len(self), axes), np.float32)
        for name, tokens in self.tokens.items():
            start = self.start[name]
            out[start : start + len(tokens), : tokens.positions.shape[1]] = tokens.positions
        return out

    def __len__(self) -> int:
        return sum(len(tokens) for tokens in self.tokens.values())

    def only(self, modality: str) -> Sample:
        """Return the sample restricted to one modality. Coordinates restart at 0; modality indices stay."""
        return Sample({modality: self.tokens[modality]}, self.draw, self.modalities, self.labels)


@dataclass(frozen=True)
class Masking:
    """The tokens of one modality to hide and the tokens to predict. The two are independent.

    ``is_visible`` (L,) tokens shown unchanged. ``is_target`` (L,) tokens to predict. ``unit`` (L,) id of the span, word or block
    hidden as one, -1 for none (adjacent spans stay separate). ``weight`` (L,) loss weight, 1 if None. ``level`` the ratio drawn.

    ``groups`` (U, L) bool: sets of targets, each answered separately. They may overlap or be empty, and their union is
    ``is_target``. None: all targets form one set. Corruptors that answer in the context ask for every target once, regardless of
    groups.

    ``kind`` is the index of the branch if a sample draws one of several maskings. ``entry`` (L,) is the id of a hidden token's unit
    if units have ids, else -1. A unit of one token has the token's id; others have ids after the vocabulary.
    """

    is_visible: Array
    is_target: Array
    unit: Array | None = None
    weight: Array | None = None
    level: float = 0.0
    groups: Array | None = None
    kind: int = 0
    entry: Array | None = None
