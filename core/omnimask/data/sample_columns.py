"""Columns of a micro-batch, made from its samples. B samples, P tokens of one modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import Draws, FieldSpec, Sample, SampleColumns, TokenColumns, Tokens, TokenSpec


def columns_of(
    samples: Sequence[Sample], specs: Mapping[str, TokenSpec], labels: Mapping[str, FieldSpec] | None = None
) -> SampleColumns:
    """Concatenate samples. Every modality, field and label of the recipe is present; arrays have the declared types."""
    draws = Draws(sample.draw for sample in samples)
    rows = {m: np.array([row for row, sample in enumerate(samples) if m in sample.tokens], np.int64) for m in specs}
    return SampleColumns(
        {m: _tokens([samples[row].tokens[m] for row in rows[m].tolist()], spec, draws.take(rows[m])) for m, spec in specs.items()},
        rows,
        draws,
        tuple(specs),
        {name: _label(samples, name, spec) for name, spec in (labels or {}).items()},
        samples,
    )


def is_faithful(samples: Sequence[Sample], specs: Mapping[str, TokenSpec]) -> bool:
    """Return whether columns hold the samples exactly: modalities in the recipe's order, declared types, shapes and fields."""
    names = tuple(specs)
    held = {tuple(sample.tokens) for sample in samples}
    if any(sample.modalities != names for sample in samples) or any(own != tuple(m for m in names if m in own) for own in held):
        return False
    return all(_are_faithful([s.tokens[m] for s in samples if m in s.tokens], spec) for m, spec in specs.items())


def _are_faithful(tokens: Sequence[Tokens], spec: TokenSpec) -> bool:
    lengths = [len(one.positions) for one in tokens]
    names = {tuple(one.fields) for one in tokens}
    if any(set(own) != spec.fields.keys() for own in names) or any(field.arity == 0 for field in spec.fields.values()):
        return False
    content = [one.content for one in tokens]
    if not _are_arrays([one.positions for one in tokens], lengths, np.dtype(np.float32)):
        return False
    if not _are_arrays(content, lengths, None if spec.width is None else np.dtype(spec.dtype)):
        return False
    for name, field in spec.fields.items():
        values = [one.fields[name] for one in tokens]
        if not _are_arrays(values, lengths, np.dtype(field.dtype)):
            return False
        if field.arity == 2 and any(value.shape[:2] != (length,) * 2 for value, length in zip(values, lengths, strict=True)):
            return False
    return True


def _are_arrays(arrays: Sequence[Any], lengths: list[int], dtype: np.dtype[Any] | None) -> bool:
    """Return whether all values are NumPy arrays with these lengths and this type (None: integers)."""
    if set(map(type, arrays)) - {np.ndarray} or list(map(len, arrays)) != lengths:
        return False
    found = {array.dtype for array in arrays}
    return all(one.kind in "iu" for one in found) if dtype is None else found <= {dtype}


def _tokens(tokens: Sequence[Tokens], spec: TokenSpec, draws: Draws) -> TokenColumns:
    dtype = np.dtype(np.int64 if spec.width is None else spec.dtype)
    arrays: dict[bool, dict[str, NDArray[Any]]] = {True: {}, False: {}}
    for name, field in spec.fields.items():
        parts = [one.fields[name] for one in tokens]
        # fields of pairs (L, L, ...) are flattened per sample to (L * L, ...)
        flat = [np.asarray(part).reshape(-1, *field.shape) for part in parts] if field.arity == 2 else parts
        arrays[field.arity == 2][name] = _joined(flat, field.shape, np.dtype(field.dtype))
    return TokenColumns(
        _joined([one.content for one in tokens], spec.width or (), dtype),
        np.concatenate([np.zeros((0, spec.axes), np.float32), *(one.positions for one in tokens)]),
        np.array([len(one.positions) for one in tokens], np.int64),
        draws,
        arrays[False],
        arrays[True],
    )


def _joined(parts: Sequence[NDArray[Any]], shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Concatenate arrays, converted to the declared type as by ``np.asarray``."""
    return np.concatenate([np.zeros((0, *shape), dtype), *parts], dtype=dtype, casting="unsafe")


def _label(samples: Sequence[Sample], name: str, spec: FieldSpec) -> NDArray[Any]:
    dtype = np.dtype(spec.dtype)
    absent = np.full(spec.shape, np.nan if dtype.kind == "f" else -1, dtype)
    return np.stack([np.asarray(sample.labels.get(name, absent), dtype) for sample in samples])
