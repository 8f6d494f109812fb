"""Maskable tokens: special tokens, which frame a sample or mark a missing value, are removed before a masker runs and put back
after it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from omnimask.columns import LazyArrays, masked_samples
from omnimask.interfaces import (
    SPECIAL,
    Array,
    JointMasker,
    Masking,
    MaskingColumns,
    Sample,
    SampleColumns,
    TokenColumns,
    Tokens,
    TokenSpec,
)


class Candidates:
    """A masker that does not see tokens with a True field ``special``. They stay visible, and ratios refer to the others.

    Args:
        masker: over a sample.
        specs: of the recipe's modalities.
    """

    def __init__(self, masker: JointMasker, specs: Mapping[str, TokenSpec]) -> None:
        self.masker, self.specs = masker, specs

    def __call__(self, sample: Sample) -> Mapping[str, Masking]:
        chosen = {
            name: np.flatnonzero(~np.asarray(tokens.fields[SPECIAL], bool))
            for name, tokens in sample.tokens.items()
            if SPECIAL in tokens.fields
        }
        parts = {
            name: take(tokens, chosen[name], self.specs[name]) if name in chosen else tokens
            for name, tokens in sample.tokens.items()
        }
        masked = self.masker(dataclasses.replace(sample, tokens=parts))
        return {
            name: put_back(masking, chosen[name], len(sample.tokens[name])) if name in chosen else masking
            for name, masking in masked.items()
        }

    def mask_batch(self, samples: SampleColumns) -> Mapping[str, MaskingColumns] | None:
        """Mask all samples of a micro-batch at once."""
        chosen = {
            name: np.flatnonzero(~np.asarray(tokens.fields[SPECIAL], bool))
            for name, tokens in samples.tokens.items()
            if SPECIAL in tokens.fields
        }
        parts = {name: take_columns(tokens, chosen[name]) if name in chosen else tokens for name, tokens in samples.tokens.items()}
        masked = masked_samples(self.masker, dataclasses.replace(samples, tokens=parts, origin=None))
        if masked is None:
            return None
        return {
            name: put_back_columns(masking, chosen[name], samples.tokens[name]) if name in chosen else masking
            for name, masking in masked.items()
        }


def take_columns(tokens: TokenColumns, index: NDArray[np.int64]) -> TokenColumns:
    """Return a subset ``index`` (P',) of the tokens of all samples. Their fields are indexed lazily."""
    lengths = np.bincount(tokens.owner[index], minlength=tokens.num_samples)

    def pairs(name: str) -> Array:
        values, parts = tokens.pairs[name], []
        of, starts = index - np.repeat(tokens.offsets[:-1], lengths), np.cumsum(tokens.lengths**2) - tokens.lengths**2
        for number, (first, length) in enumerate(zip(starts.tolist(), tokens.lengths.tolist(), strict=True)):
            own = of[int(lengths[:number].sum()) :][: lengths[number]]
            matrix = values[first : first + length**2].reshape(length, length, *values.shape[1:])
            parts.append(matrix[np.ix_(own, own)].reshape(-1, *values.shape[1:]))
        return np.concatenate(parts)

    return TokenColumns(
        tokens.content[index],
        tokens.positions[index],
        lengths,
        tokens.draws,
        LazyArrays(tokens.fields, lambda name: tokens.fields[name][index]),
        LazyArrays(tokens.pairs, pairs),
    )


def put_back_columns(masking: MaskingColumns, index: NDArray[np.int64], tokens: TokenColumns) -> MaskingColumns:
    """Expand a masking of the tokens at ``index`` to all ``tokens``, as :func:`put_back` does for one sample."""
    unit, entry = masking.unit, masking.entry
    if unit is not None:
        # Between two neighbors of one unit lies a removed token: rare, so these samples are cut one by one.
        owner = tokens.owner[index]
        is_split = (np.diff(index) > 1) & (owner[1:] == owner[:-1]) & (unit[1:] == unit[:-1]) & (unit[1:] >= 0)
        for sample in np.unique(owner[1:][is_split]).tolist():
            own = slice(int(masking.offsets[sample]), int(masking.offsets[sample + 1]))
            pieces = _cut(masking.masking(sample), np.diff(index[own]) > 1)
            unit, entry = _with(unit, own, pieces.unit), _with(entry, own, pieces.entry)
    length = tokens.num_tokens

    def spread(values: Array, rest: float, dtype: type) -> Array:
        out = np.full(length, rest, dtype)
        out[index] = values
        return out

    return MaskingColumns(
        spread(masking.is_visible, True, bool),
        spread(masking.is_target, False, bool),
        tokens.lengths,
        masking.level,
        masking.kind,
        unit=None if unit is None else spread(unit, -1, np.int64),
        weight=None if masking.weight is None else spread(masking.weight, 1, np.float32),
        entry=None if entry is None else spread(entry, -1, np.int64),
    )


def _with(values: Array, own: slice, new: Array) -> Array:
    """Return a copy of ``values`` with other ones in a slice; None stays."""
    return None if values is None else np.concatenate([values[: own.start], new, values[own.stop :]])


def take(tokens: Tokens, index: NDArray[np.int64], spec: TokenSpec) -> Tokens:
    """Return a subset of the tokens. Their fields (pair fields in both dimensions) are indexed lazily."""
    return Tokens(tokens.content[index], tokens.positions[index], _SomeFields(tokens.fields, index, spec))


class _SomeFields(Mapping[str, Array]):
    def __init__(self, fields: Mapping[str, Array], index: NDArray[np.int64], spec: TokenSpec) -> None:
        self._fields, self._index, self._spec = fields, index, spec

    def __getitem__(self, name: str) -> Array:
        values, spec = self._fields[name], self._spec.fields.get(name)
        arity = 1 if spec is None else spec.arity
        if arity == 0:
            return values
        return values[self._index] if arity == 1 else values[np.ix_(self._index, self._index)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


def put_back(masking: Masking, index: NDArray[np.int64], length: int) -> Masking:
    """Expand a masking of the tokens at ``index`` to all tokens; the others are visible and not targets.

    A unit is cut where one of the other tokens lies between its neighbors. The pieces have no entry.
    """
    masking = _cut(masking, np.diff(index) > 1)
    is_visible, is_target = np.ones(length, bool), np.zeros(length, bool)
    is_visible[index], is_target[index] = masking.is_visible, masking.is_target
    unit = weight = groups = entry = None
    if masking.unit is not None:
        unit = np.full(length, -1, np.int64)
        unit[index] = masking.unit
    if masking.weight is not None:
        weight = np.ones(length, np.float32)
        weight[index] = masking.weight
    if masking.groups is not None:
        groups = np.zeros((len(masking.groups), length), bool)
        groups[:, index] = masking.groups
    if masking.entry is not None:
        entry = np.full(length, -1, np.int64)
        entry[index] = masking.entry
    return dataclasses.replace(
        masking, is_visible=is_visible, is_target=is_target, unit=unit, weight=weight, groups=groups, entry=entry
    )


def _cut(masking: Masking, is_gap: NDArray[np.bool_]) -> Masking:
    """Cut units at gaps: ``is_gap`` (L - 1,) is True if a removed token lies between two neighbors. If a unit is cut, units are
    renumbered from the left."""
    if masking.unit is None or not is_gap.any():
        return masking
    unit = np.asarray(masking.unit, np.int64)
    is_inside = (unit[1:] == unit[:-1]) & (unit[1:] >= 0)
    size = np.bincount(unit[unit >= 0], minlength=1)
    num_pieces = size - np.bincount(unit[1:][is_inside], minlength=len(size))
    crossing = np.unique(unit[1:][is_inside & is_gap])
    is_cut = np.isin(unit, crossing[num_pieces[crossing] == 1])  # units already in pieces are not cut
    if not is_cut.any():
        return masking
    held = np.flatnonzero(unit >= 0)
    stretch = np.where(is_cut, np.concatenate([[0], np.cumsum(is_gap)]), 0)
    key = unit[held] * (stretch.max() + 1) + stretch[held]
    _, first, number = np.unique(key, return_index=True, return_inverse=True)
    renumbered = np.full(len(unit), -1, np.int64)
    renumbered[held] = np.argsort(np.argsort(first))[number]
    entry = None if masking.entry is None else np.where(is_cut, -1, masking.entry)
    return dataclasses.replace(masking, unit=renumbered, entry=entry)
