"""Samples and maskings of a whole micro-batch on the host, as flat columns.

B samples, P tokens of one modality of all samples, n tokens of all modalities and samples; A position axes.

*Batch coordinates*: the tokens of all samples, sample after sample, and within a sample modality after modality, from 0. They are
the samples' own coordinates (see :class:`Sample`), each shifted by the tokens of the samples before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces.draws import Draws
from omnimask.interfaces.ragged import ranges
from omnimask.interfaces.tokens import Array, Masking, Sample, Tokens, TokenSpec

T = TypeVar("T")


@dataclass(frozen=True)
class TokenColumns:
    """One modality of B samples: their :class:`Tokens`, concatenated.

    ``content`` (P,) ids or (P, *width), ``positions`` (P, A) float32, ``fields`` of tokens by name, (P, ...). ``lengths`` (B,)
    int64, the tokens of each sample. ``draws`` of the samples. ``pairs`` are the fields of pairs, (sum of L^2, ...): the samples'
    matrices one after another, row by row.
    """

    content: Array
    positions: Array
    lengths: NDArray[np.int64]
    draws: Draws
    fields: Mapping[str, Array] = field(default_factory=dict[str, Array])
    pairs: Mapping[str, Array] = field(default_factory=dict[str, Array])

    @property
    def num_samples(self) -> int:
        return len(self.lengths)

    @property
    def num_tokens(self) -> int:
        return len(self.positions)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """First token of each sample, followed by P; (B + 1,)."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths, dtype=np.int64)])

    @cached_property
    def owner(self) -> NDArray[np.int64]:
        """Sample of each token, (P,)."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def tokens(self, sample: int) -> Tokens:
        """Return the tokens of one sample, as views into the columns."""
        start, stop = int(self.offsets[sample]), int(self.offsets[sample + 1])
        fields = {name: values[start:stop] for name, values in self.fields.items()}
        if self.pairs:
            length, first = stop - start, int((self.lengths[:sample] ** 2).sum())
            for name, values in self.pairs.items():
                fields[name] = values[first : first + length**2].reshape(length, length, *values.shape[1:])
        return Tokens(self.content[start:stop], self.positions[start:stop], fields)

    def take(self, rows: NDArray[np.int64]) -> TokenColumns:
        """Return the samples ``rows`` (B',)."""
        index, lengths = ranges(self.offsets[rows], self.lengths[rows]), self.lengths[rows]
        squares = self.lengths**2
        of_pairs = ranges((np.cumsum(squares) - squares)[rows], squares[rows]) if self.pairs else index
        fields = {name: values[index] for name, values in self.fields.items()}
        pairs = {name: values[of_pairs] for name, values in self.pairs.items()}
        return TokenColumns(self.content[index], self.positions[index], lengths, self.draws.take(rows), fields, pairs)

    def at(self, *stage: str | int) -> TokenColumns:
        """Return the same tokens, with their draws in a further stage."""
        return _changed(self, draws=self.draws.at(*stage))


@dataclass(frozen=True)
class PartColumns:
    """The parts of R raw values with their :class:`Tokens`, concatenated: K parts, P tokens, of no draw.

    ``parts`` (R,) int64, the number of parts of each raw value. ``start``, ``stop`` (K,) int64, the bounds of each part in units of
    the tokenizer, and ``lengths`` (K,) int64, its tokens. ``content`` (P,) ids or (P, *width), ``positions`` (P, A) float32,
    ``fields`` of tokens by name, (P, ...).
    """

    parts: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    lengths: NDArray[np.int64]
    content: Array
    positions: Array
    fields: Mapping[str, Array] = field(default_factory=dict[str, Array])

    @staticmethod
    def of(found: Sequence[Sequence[tuple[int, int, Tokens]]], spec: TokenSpec) -> PartColumns:
        """Concatenate (start, stop, tokens) of the parts of each raw value."""
        parts = [part for each in found for part in each]
        bounds = [(start, stop, len(tokens)) for start, stop, tokens in parts]
        start, stop, lengths = np.array(bounds, np.int64).reshape(-1, 3).T.copy()
        tokens = [tokens for *_, tokens in parts]
        shape, dtype = ((), "int64") if spec.width is None else (spec.width, spec.dtype)
        fields = {name: _joined([each.fields[name] for each in tokens], one.shape, one.dtype) for name, one in spec.fields.items()}
        return PartColumns(
            np.array([len(each) for each in found], np.int64),
            start,
            stop,
            lengths,
            _joined([each.content for each in tokens], shape, dtype),
            _joined([each.positions for each in tokens], (spec.axes,), "float32"),
            fields,
        )

    def each(self) -> list[list[tuple[int, int, Tokens]]]:
        """Return (start, stop, tokens) of the parts of each raw value, as views into the columns."""
        ends = np.cumsum(self.lengths)
        bounds = zip(self.start, self.stop, ends - self.lengths, ends, strict=True)
        parts = [(int(start), int(stop), self._tokens(int(first), int(end))) for start, stop, first, end in bounds]
        last = np.cumsum(self.parts).tolist()
        return [parts[end - count : end] for end, count in zip(last, self.parts.tolist(), strict=True)]

    def _tokens(self, first: int, end: int) -> Tokens:
        fields = {name: values[first:end] for name, values in self.fields.items()}
        return Tokens(self.content[first:end], self.positions[first:end], fields)


def _joined(parts: Sequence[Array], shape: tuple[int, ...], dtype: str) -> Array:
    return np.concatenate([np.zeros((0, *shape), dtype), *(np.asarray(part, dtype) for part in parts)])


@dataclass(frozen=True)
class MaskingColumns:
    """The maskings of one modality of B samples: their :class:`Masking`, concatenated.

    ``is_visible``, ``is_target`` (P,) bool; ``lengths`` (B,) int64; ``level`` (B,) float64 and ``kind`` (B,) int64 of each sample.
    ``unit``, ``entry`` (P,) int64 and ``weight`` (P,) float32, or None if no sample has them. Units are numbered within a sample.
    Maskings with ``groups``, and samples of which only some have units, weights or entries, are not expressible.
    """

    is_visible: Array
    is_target: Array
    lengths: NDArray[np.int64]
    level: NDArray[np.float64]
    kind: NDArray[np.int64]
    unit: Array | None = None
    weight: Array | None = None
    entry: Array | None = None

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """First token of each sample, followed by P; (B + 1,)."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths, dtype=np.int64)])

    def take(self, rows: NDArray[np.int64]) -> MaskingColumns:
        """Return the maskings of the samples ``rows`` (B',)."""
        index = ranges(self.offsets[rows], self.lengths[rows])
        return MaskingColumns(
            self.is_visible[index],
            self.is_target[index],
            self.lengths[rows],
            self.level[rows],
            self.kind[rows],
            None if self.unit is None else self.unit[index],
            None if self.weight is None else self.weight[index],
            None if self.entry is None else self.entry[index],
        )

    def masking(self, sample: int) -> Masking:
        """Return the masking of one sample, as views into the columns."""
        part = slice(int(self.offsets[sample]), int(self.offsets[sample + 1]))
        return Masking(
            self.is_visible[part],
            self.is_target[part],
            None if self.unit is None else self.unit[part],
            None if self.weight is None else self.weight[part],
            float(self.level[sample]),
            kind=int(self.kind[sample]),
            entry=None if self.entry is None else self.entry[part],
        )


@dataclass(frozen=True)
class SampleColumns:
    """B samples with all their modalities: their :class:`Sample`, concatenated.

    ``tokens`` by modality, in the recipe's order, of the samples that have this modality; ``rows`` by modality are the numbers of
    these samples, ascending. ``draws`` of all B samples. ``modalities`` are the recipe's. ``labels`` (B, ...) by name, NaN or -1 if
    absent. ``origin``: the samples from which the columns were made, if any.
    """

    tokens: Mapping[str, TokenColumns]
    rows: Mapping[str, NDArray[np.int64]]
    draws: Draws
    modalities: tuple[str, ...]
    labels: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, "NDArray[Any]"])
    origin: Sequence[Sample] | None = None

    @property
    def num_samples(self) -> int:
        return len(self.draws)

    @cached_property
    def lengths_by_modality(self) -> NDArray[np.int64]:
        """Tokens of each sample and modality of ``tokens``, 0 if absent; (B, M)."""
        out = np.zeros((len(self.draws), len(self.tokens)), np.int64)
        for number, (name, tokens) in enumerate(self.tokens.items()):
            out[self.rows[name], number] = tokens.lengths
        return out

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each sample, (B,)."""
        if len(self.tokens) == 1:
            return self.lengths_by_modality[:, 0]
        return self.lengths_by_modality.sum(axis=1)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """First token of each sample in batch coordinates, followed by n; (B + 1,)."""
        if (only := self._only) is not None:
            return only.offsets
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths, dtype=np.int64)])

    @cached_property
    def owner(self) -> NDArray[np.int64]:
        """Sample of each token, (n,)."""
        if (only := self._only) is not None:
            return only.owner
        return np.repeat(np.arange(len(self.draws)), self.lengths)

    @property
    def _only(self) -> TokenColumns | None:
        """The tokens of the only modality, if all samples have it: their coordinates are those of the batch."""
        (tokens, *others) = self.tokens.values()
        return tokens if not others and tokens.num_samples == len(self.draws) else None

    @cached_property
    def start(self) -> Mapping[str, NDArray[np.int64]]:
        """By modality, the first token of each sample that has it, in batch coordinates, (B',)."""
        before = np.cumsum(self.lengths_by_modality, axis=1) - self.lengths_by_modality + self.offsets[:-1, None]
        return {name: before[self.rows[name], number] for number, name in enumerate(self.tokens)}

    @cached_property
    def index(self) -> Mapping[str, NDArray[np.int64]]:
        """By modality, the batch coordinates of its tokens, (P,)."""
        if len(self.tokens) == 1:
            return {name: np.arange(tokens.num_tokens) for name, tokens in self.tokens.items()}
        return {
            name: np.arange(tokens.num_tokens) + np.repeat(self.start[name] - tokens.offsets[:-1], tokens.lengths)
            for name, tokens in self.tokens.items()
        }

    @cached_property
    def modality(self) -> NDArray[np.int64]:
        """Modality index of every token, (n,)."""
        if len(self.tokens) == 1:
            (name,) = self.tokens
            return np.full(self.tokens[name].num_tokens, self.modalities.index(name))
        return self.joint({name: np.full(t.num_tokens, self.modalities.index(name)) for name, t in self.tokens.items()}, np.int64)

    @cached_property
    def positions(self) -> NDArray[np.float32]:
        """Positions of all tokens, (n, A). Missing trailing axes are zero."""
        axes = max((tokens.positions.shape[1] for tokens in self.tokens.values()), default=1)
        parts = {name: _with_axes(tokens.positions, axes) for name, tokens in self.tokens.items()}
        return self.joint(parts, np.float32, (axes,))

    def joint(self, parts: Mapping[str, Array], dtype: Any, shape: tuple[int, ...] = ()) -> NDArray[Any]:
        """Return arrays of the modalities (P, *shape) in batch coordinates, (n, *shape). One modality's array is not copied."""
        if len(self.tokens) == 1:
            (name,) = self.tokens
            return np.asarray(parts[name], dtype)
        out = np.empty((int(self.offsets[-1]), *shape), dtype)
        for name in self.tokens:
            out[self.index[name]] = parts[name]
        return out

    def at(self, *stage: str | int) -> SampleColumns:
        """Return the same samples, with their draws in a further stage."""
        return _changed(self, draws=self.draws.at(*stage), tokens={name: tokens.at(*stage) for name, tokens in self.tokens.items()})

    def only(self, modality: str) -> SampleColumns:
        """Return the samples that have a modality, restricted to it. Coordinates restart at 0; modality indices stay."""
        rows, tokens = self.rows[modality], self.tokens[modality]
        labels = {name: values[rows] for name, values in self.labels.items()}
        origin = self._origin(rows)
        return SampleColumns({modality: tokens}, {modality: np.arange(len(rows))}, tokens.draws, self.modalities, labels, origin)

    def take(
        self, rows: NDArray[np.int64], maskings: Mapping[str, MaskingColumns]
    ) -> tuple[SampleColumns, dict[str, MaskingColumns]]:
        """Return the samples ``rows`` (B',), ascending, and their maskings."""
        tokens: dict[str, TokenColumns] = {}
        own: dict[str, MaskingColumns] = {}
        of: dict[str, NDArray[np.int64]] = {}
        for name, columns in self.tokens.items():
            places = np.flatnonzero(np.isin(self.rows[name], rows))
            tokens[name], own[name] = columns.take(places), maskings[name].take(places)
            of[name] = np.searchsorted(rows, self.rows[name][places])
        labels = {name: values[rows] for name, values in self.labels.items()}
        origin = self._origin(rows)
        return SampleColumns(tokens, of, self.draws.take(rows), self.modalities, labels, origin), own

    def _origin(self, rows: NDArray[np.int64]) -> list[Sample] | None:
        numbers: list[int] = rows.tolist()
        return None if self.origin is None else [self.origin[row] for row in numbers]

    def sample(self, number: int) -> Sample:
        """Return one sample. It is the original if the columns were made from samples, else cut from the columns."""
        return Sample(self._cut(number), self.draws[number], self.modalities, self._labels(number))

    @property
    def samples(self) -> list[Sample]:
        """All samples, one by one."""
        return [self.sample(number) for number in range(self.num_samples)]

    def _cut(self, number: int) -> Mapping[str, Tokens]:
        if self.origin is not None:
            held = self.origin[number].tokens
            return held if held.keys() == self.tokens.keys() else {name: held[name] for name in self.tokens if name in held}
        found: dict[str, Tokens] = {}
        for name, tokens in self.tokens.items():
            place = int(np.searchsorted(self.rows[name], number))
            if place < len(self.rows[name]) and self.rows[name][place] == number:
                found[name] = tokens.tokens(place)
        return found

    def _labels(self, number: int) -> Mapping[str, Array]:
        if self.origin is not None:
            return self.origin[number].labels
        own = {name: values[number] for name, values in self.labels.items()}
        return {name: value for name, value in own.items() if not bool(np.all(_is_absent(value)))}


def _is_absent(value: Any) -> Any:
    return np.isnan(value) if np.asarray(value).dtype.kind == "f" else np.asarray(value) == -1


def _with_axes(positions: Array, axes: int) -> Array:
    missing = axes - positions.shape[1]
    return np.pad(positions, ((0, 0), (0, missing))) if missing else positions


def _changed(value: T, **fields: Any) -> T:
    """Return a copy with other fields. Everything computed from the lengths is kept, unlike by ``dataclasses.replace``."""
    new = object.__new__(type(value))
    vars(new).update(vars(value), **fields)
    return new
