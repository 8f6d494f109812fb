"""Repetition of the samples of a micro-batch. B samples, P tokens of one modality, R repetitions of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import Array, Draws, SampleColumns, TokenColumns
from omnimask.packed import ranges


def repeated(samples: SampleColumns, times: int, *stage: str | int) -> SampleColumns:
    """Return every sample ``times`` times in a row, as B * R samples with a draw each (see :meth:`Draws.repeated`).

    Content and fields are copied when they are first read: most maskers and corruptors read neither.
    """
    if times == 1:
        return samples
    draws = samples.draws.repeated(times, *stage)
    rows = {name: (own[:, None] * times + np.arange(times)).reshape(-1) for name, own in samples.rows.items()}
    tokens = {name: _repeated(columns, times, draws.take(rows[name])) for name, columns in samples.tokens.items()}
    labels = {name: np.repeat(values, times, axis=0) for name, values in samples.labels.items()}
    origin = None if samples.origin is None else [sample for sample in samples.origin for _ in range(times)]
    return SampleColumns(tokens, rows, draws, samples.modalities, labels, origin)


class LazyArrays(Mapping[str, Array]):
    """The names of a mapping, with values that are computed when they are first read."""

    def __init__(self, names: Mapping[str, Array], value: Callable[[str], Array]) -> None:
        self._names, self._value = names, value
        self._found: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self._found:
            self._found[name] = self._value(name)
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _RepeatedTokens(TokenColumns):
    """Tokens whose content is gathered when it is first read. Patches and frames are much larger than all their other columns."""

    _content: _GatheredContent

    @cached_property
    def content(self) -> Array:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._content.values


class _GatheredContent:
    """Rows ``index`` of an array; copies of the columns in other stages of the draw share it."""

    def __init__(self, values: Array, index: NDArray[np.int64]) -> None:
        self._values, self._index = values, index

    @cached_property
    def values(self) -> Array:
        return self._values[self._index]


def _repeated(tokens: TokenColumns, times: int, draws: Draws) -> TokenColumns:
    rows = np.repeat(np.arange(tokens.num_samples), times)
    index, squares = ranges(tokens.offsets[rows], tokens.lengths[rows]), tokens.lengths**2
    of_pairs = ranges((np.cumsum(squares) - squares)[rows], squares[rows]) if tokens.pairs else index
    new = object.__new__(_RepeatedTokens)
    vars(new).update(
        _content=_GatheredContent(tokens.content, index),
        positions=tokens.positions[index],
        lengths=tokens.lengths[rows],
        draws=draws,
        fields=LazyArrays(tokens.fields, lambda name: tokens.fields[name][index]),
        pairs=LazyArrays(tokens.pairs, lambda name: tokens.pairs[name][of_pairs]),
    )
    return new
