"""Calls of maskers and corruptors for a whole micro-batch: all samples at once where a component can, else one by one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray

from omnimask.columns.views import joined
from omnimask.interfaces import (
    JointMasker,
    Masker,
    Masking,
    MaskingColumns,
    Sample,
    SampleColumns,
    TokenColumns,
    View,
    WholeBatchCorruptor,
    WholeBatchJointMasker,
    WholeBatchMasker,
)
from omnimask.packed import ranges

T = TypeVar("T")
Ints = NDArray[np.int64]


def has_whole_batch(component: Any, capability: type[T]) -> TypeGuard[T]:
    """Return whether a component has a capability for whole micro-batches.

    A class that redefines the call for one sample, but inherits the method for all, does not: the two would differ.
    """
    return _has_capability(type(component), capability)


@cache
def _has_capability(kind: type, capability: type) -> bool:
    if not issubclass(kind, capability):
        return False
    method = "corrupt_batch" if hasattr(capability, "corrupt_batch") else "mask_batch"
    nearest = next(base for base in kind.__mro__ if "__call__" in vars(base) or method in vars(base))
    return method in vars(nearest)


def masked(masker: Masker, tokens: TokenColumns) -> MaskingColumns | None:
    """Mask all samples with a masker of either kind. Returns None if columns cannot express the maskings."""
    if has_whole_batch(masker, WholeBatchMasker):
        found = masker.mask_batch(tokens)
        if found is not None:
            return found
    each: list[Masking] = []
    for number, length in enumerate(tokens.lengths.tolist()):
        each.append(masker(tokens.tokens(number), tokens.draws[number]))
        if not _is_exact(each[-1], length):
            return None
    return concatenated(each, tokens.lengths)


def masked_samples(masker: JointMasker, samples: SampleColumns) -> Mapping[str, MaskingColumns] | None:
    """Mask all samples with a joint masker of either kind. Returns None if columns cannot express the maskings."""
    if has_whole_batch(masker, WholeBatchJointMasker):
        found = masker.mask_batch(samples)
        if found is not None:
            return found
    each: dict[str, list[Masking]] = {name: [] for name in samples.tokens}
    for sample in samples.samples:
        maskings = masker(sample)
        if maskings.keys() != sample.tokens.keys():
            return None
        for name, masking in maskings.items():
            if not _is_exact(masking, len(sample.tokens[name])):
                return None
            each[name].append(masking)
    found = {name: concatenated(maskings, samples.tokens[name].lengths) for name, maskings in each.items()}
    return all_found(found)


def masked_by(maskers: Sequence[Masker], branch: Ints, tokens: TokenColumns) -> MaskingColumns | None:
    """Mask each sample with one of several maskers, in its own stage of the draw; ``branch`` (B,) becomes the maskings' kind.

    Returns None if columns cannot express the maskings.
    """
    branches = np.unique(branch).tolist()
    if len(branches) == 1:
        (number,) = branches
        found = masked(maskers[number], tokens.at(number))
        return None if found is None else dataclasses.replace(found, kind=branch.astype(np.int64))
    rows = [np.flatnonzero(branch == number) for number in branches]
    parts = [masked(maskers[number], tokens.take(row).at(number)) for number, row in zip(branches, rows, strict=True)]
    return (
        None if any(part is None for part in parts) else _merged([part for part in parts if part is not None], rows, tokens, branch)
    )


def _merged(parts: Sequence[MaskingColumns], rows: Sequence[Ints], tokens: TokenColumns, branch: Ints) -> MaskingColumns | None:
    """Merge maskings of the samples ``rows`` into those of all samples; None if only some have units, weights or entries."""
    places = [ranges(tokens.offsets[row], tokens.lengths[row]) for row in rows]

    def merged(name: str, index: Sequence[Ints], count: int) -> Any:
        values = [getattr(part, name) for part in parts]
        if values[0] is None:
            return None
        out = np.empty(count, values[0].dtype)
        for place, value in zip(index, values, strict=True):
            out[place] = value
        return out

    if any(len({getattr(part, name) is None for part in parts}) > 1 for name in _OPTIONAL):
        return None
    columns = {name: merged(name, places, tokens.num_tokens) for name in ("is_visible", "is_target", *_OPTIONAL)}
    level = merged("level", rows, tokens.num_samples)
    return MaskingColumns(**columns, lengths=tokens.lengths, level=level, kind=branch.astype(np.int64))


def corrupted(
    corruptor: Callable[[Sample, Mapping[str, Masking]], View], samples: SampleColumns, maskings: Mapping[str, MaskingColumns]
) -> View | None:
    """Corrupt all samples with a corruptor of either kind. Returns None if one view cannot express the results."""
    if has_whole_batch(corruptor, WholeBatchCorruptor):
        view = corruptor.corrupt_batch(samples, maskings)
        if view is not None:
            return view
    return joined(corrupted_each(corruptor, samples, maskings), samples)


def corrupted_each(corruptor: Callable[..., T], samples: SampleColumns, maskings: Mapping[str, MaskingColumns]) -> list[T]:
    """Call a corruptor for every sample and its maskings, cut from the columns."""
    places = dict.fromkeys(samples.tokens, 0)
    views: list[T] = []
    for number in range(samples.num_samples):
        sample = samples.sample(number)
        own: dict[str, Masking] = {}
        for name in sample.tokens:
            own[name] = maskings[name].masking(places[name])
            places[name] += 1
        views.append(corruptor(sample, own))
    return views


def concatenated(maskings: Sequence[Masking], lengths: Ints) -> MaskingColumns | None:
    """Concatenate the maskings of samples with ``lengths`` (B,) tokens. Returns None if columns cannot express them exactly."""
    if not all(_is_exact(masking, length) for masking, length in zip(maskings, lengths.tolist(), strict=True)):
        return None
    parts: dict[str, NDArray[Any] | None] = {}
    for name, dtype in _OPTIONAL.items():
        values = [getattr(masking, name) for masking in maskings]
        num_absent = sum(value is None for value in values)
        if 0 < num_absent < len(values):
            return None
        parts[name] = None if num_absent == len(values) else np.concatenate([np.zeros(0, dtype), *values])
    return MaskingColumns(
        np.concatenate([np.zeros(0, bool), *(masking.is_visible for masking in maskings)]),
        np.concatenate([np.zeros(0, bool), *(masking.is_target for masking in maskings)]),
        lengths,
        np.array([masking.level for masking in maskings], np.float64),
        np.array([masking.kind for masking in maskings], np.int64),
        **parts,
    )


_OPTIONAL = {"unit": np.dtype(np.int64), "weight": np.dtype(np.float32), "entry": np.dtype(np.int64)}


def _is_exact(masking: Masking, length: int) -> bool:
    """Return whether columns reproduce a masking: declared types, one number per token, no groups."""
    if not isinstance(masking, Masking) or masking.groups is not None:
        return False
    if type(masking.level) is not float or type(masking.kind) is not int:
        return False
    named = [(masking.is_visible, _BOOL), (masking.is_target, _BOOL)]
    named += [(value, dtype) for name, dtype in _OPTIONAL.items() if (value := getattr(masking, name)) is not None]
    return all(type(value) is np.ndarray and value.dtype == dtype and value.shape == (length,) for value, dtype in named)


_BOOL = np.dtype(bool)


def all_found(parts: Mapping[str, T | None]) -> dict[str, T] | None:
    """Return the parts, or None if any is None."""
    found = {name: part for name, part in parts.items() if part is not None}
    return found if len(found) == len(parts) else None
