"""Whole micro-batches on the host, for maskers and corruptors with a whole-batch path.

A component with this capability handles all samples at once; any other is called sample by sample, and its results are
concatenated. The functions here do either, so components of both kinds mix.

B samples, n tokens of all of them, T slots, S sequences, N targets; A position axes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import (
    CONTENT,
    AttentionKind,
    JointMasker,
    Layout,
    Masker,
    Masking,
    MaskingColumns,
    Sample,
    SampleColumns,
    Stream,
    Targets,
    TokenColumns,
    View,
    WholeBatchCorruptor,
    WholeBatchJointMasker,
    WholeBatchMasker,
)
from omnimask.packed import ranges
from omnimask.streams import is_plain, no_targets, stack

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


def sequences(
    samples: SampleColumns,
    source: Ints | None,
    lengths: Ints,
    *,
    literal: Ints | None = None,
    modality: Ints | None = None,
    positions: NDArray[np.float32] | None = None,
    has_position: NDArray[np.bool_] | None = None,
    rank: Ints | None = None,
    targets: Targets | None = None,
    parent: Ints | None = None,
    kind: Ints,
    level: NDArray[np.float64],
) -> Stream:
    """Return a stream of S sequences, as :func:`omnimask.streams.sequence` makes them one by one.

    Args:
        samples: the slots point to their tokens.
        source: (T,) batch coordinates, -1 for inserted slots; None: every token in order.
        lengths: (S,) slots of each sequence.
        literal: (T,) ids shown instead of content; ``CONTENT`` everywhere if None.
        modality: (T,) modality indices; required for inserted slots, defaults to the source's.
        positions: (T, A); the source's if None (inserted slots then have none).
        has_position: (T,) bool; defaults to True where the slot has a source, or everywhere if ``positions`` is given.
        rank: (T,) visibility; 0 everywhere if None.
        targets: ``at`` slots of this stream, ``of`` batch coordinates.
        parent: (S,) sample of each sequence; one sequence per sample if None.
        kind, level: (B,) branch and ratio of each sample.
    """
    count = int(lengths.sum())
    is_every = source is None
    source = np.arange(count) if source is None else source
    is_token = np.ones(count, bool) if is_every else source >= 0
    if modality is None:
        modality = samples.modality if is_every else samples.modality[source]
    if positions is None:
        positions = samples.positions if is_every else _positions_at(samples, source, is_token)
        has_position = is_token if has_position is None else has_position
    number = np.arange(samples.num_samples) if parent is None else parent
    # Slots of the only modality need no comparison.
    only = modality[:1] if len(samples.tokens) == 1 else modality
    return Stream(
        source=source,
        literal=np.full(count, CONTENT, np.int64) if literal is None else literal,
        modality=modality,
        positions=np.asarray(positions, np.float32),
        has_position=np.ones(count, bool) if has_position is None else has_position,
        rank=np.zeros(count, np.int64) if rank is None else rank,
        block=np.zeros(count, np.int64),
        layout=Layout(lengths, number, attention_of(rank, None, lengths), one_modality(only, lengths)),
        targets=no_targets() if targets is None else targets,
        kind=kind if parent is None else kind[parent],
        level=level if parent is None else level[parent],
    )


def _positions_at(samples: SampleColumns, source: Ints, is_token: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the sources' positions (T, A), zeros for inserted slots."""
    if is_token.all():
        return samples.positions[source]
    out = np.zeros((len(source), samples.positions.shape[1]), np.float32)
    out[is_token] = samples.positions[source[is_token]]
    return out


def attention_of(rank: Ints | None, block: Ints | None, lengths: Ints) -> AttentionKind:
    """Return the cheapest attention kind that describes the visibility in all sequences of ``lengths`` (S,)."""
    if rank is None and block is None:
        return "full"
    owner = np.repeat(np.arange(len(lengths)), lengths)
    inside = owner[1:] == owner[:-1]

    def has(between: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return (S,) whether a sequence has two neighbors with this property."""
        return np.bincount(owner[1:][inside & between], minlength=len(lengths)) > 0

    steps = np.zeros(len(inside), np.int64) if rank is None else np.diff(rank)
    has_blocks = np.zeros(len(lengths), bool) if block is None else has(np.diff(block) != 0)
    is_full = ~has_blocks & ~has(steps != 0)
    is_causal = ~has_blocks & ~is_full & ~has(steps <= 0)
    held = lengths > 1
    if is_full[held].all():
        return "full"
    return "causal" if is_causal[held].all() else "ranked"


def one_modality(modality: Ints, lengths: Ints) -> Ints:
    """Return (S,) the modality of a sequence's slots, -1 if it has several or none.

    ``modality`` (T,) of the slots of all sequences, or (1,) if they have the same.
    """
    if not len(modality) or bool((modality == modality[0]).all()):
        return np.where(lengths > 0, modality[0] if len(modality) else -1, -1)
    first = np.append(modality, -1)[np.cumsum(lengths) - lengths]
    owner = np.repeat(np.arange(len(lengths)), lengths)
    others = np.bincount(owner[modality != first[owner]], minlength=len(lengths))
    return np.where((lengths > 0) & (others == 0), first, -1)


def arranged(streams: Sequence[Stream], owners: Sequence[Ints]) -> Stream:
    """Concatenate streams, and order their sequences by sample. Sequences and targets of one sample keep their order.

    Args:
        streams: in batch coordinates.
        owners: (S,) of each stream, the sample of each sequence, which becomes its ``parent``.
    """
    joint, owner = stack(streams), np.concatenate(owners)
    if len(owner) and not len(joint.targets):
        # Of tables without rows the first sample's is kept.
        first = next(stream for stream, own in zip(streams, owners, strict=True) if owner.min() in own)
        joint = dataclasses.replace(joint, targets=first.targets)
    if bool((np.diff(owner) >= 0).all()):
        return dataclasses.replace(joint, layout=dataclasses.replace(joint.layout, parent=owner))
    layout, table = joint.layout, joint.targets
    order = np.argsort(owner, kind="stable")
    slots = ranges(layout.offsets[:-1][order], layout.lengths[order])
    place = np.empty(len(slots), np.int64)
    place[slots] = np.arange(len(slots))
    at = table.at[:, 0]
    rows = np.argsort(np.repeat(owner, layout.lengths)[at], kind="stable")
    by_slot = ("source", "literal", "modality", "positions", "has_position", "rank", "block")
    return dataclasses.replace(
        joint,
        **{name: getattr(joint, name)[slots] for name in by_slot},
        layout=Layout(layout.lengths[order], owner[order], layout.attention, _modality(layout)[order]),
        targets=dataclasses.replace(
            table,
            at=place[at[rows]][:, None],
            of=table.of[rows],
            literal=table.literal[rows],
            weight=table.weight[rows],
            index=None if table.index is None else table.index[rows],
        ),
        kind=joint.kind[order],
        level=joint.level[order],
    )


def _modality(layout: Layout) -> Ints:
    return np.full(layout.num_sequences, -1) if layout.modality is None else layout.modality


def chained(stream: Stream, num_samples: int) -> Stream:
    """Join the adjacent sequences of each sample to one, as :func:`omnimask.streams.chain`. Every sample has at least one."""
    owner = stream.layout.parent
    lengths = np.bincount(owner, weights=stream.layout.lengths, minlength=num_samples).astype(np.int64)
    first = np.searchsorted(owner, np.arange(num_samples))
    layout = Layout(
        lengths, np.arange(num_samples), attention_of(stream.rank, stream.block, lengths), one_modality(stream.modality, lengths)
    )
    return dataclasses.replace(stream, layout=layout, kind=stream.kind[first], level=stream.level[first])


def joined(views: Sequence[View], samples: SampleColumns) -> View | None:
    """Join the views of single samples, in their own coordinates, to one in batch coordinates.

    Returns None if one view cannot express them: several context sequences of a sample, a query in some samples only, fields, or
    arrays of other types than the interface's.
    """
    queries = [view.query for view in views if view.query is not None]
    is_one_each = all(view.context.layout.num_sequences == 1 for view in views)
    if not is_one_each or any(view.fields for view in views) or len(queries) not in (0, len(views)):
        return None
    context = _shifted([view.context for view in views], samples)
    query = _shifted(queries, samples) if queries else None
    return None if context is None or (queries and query is None) else View(context, query)


def _shifted(streams: Sequence[Stream], samples: SampleColumns) -> Stream | None:
    """Stack streams of single samples in batch coordinates; None if a sequence's parent is not the sample's context."""
    joint, numbers = stack(streams), np.arange(len(streams))
    if any(stream.targets.arity != 1 for stream in streams) or np.any(joint.layout.parent != 0) or not is_plain(joint):
        return None
    of_slot = np.repeat(samples.offsets[:-1], [len(stream.source) for stream in streams])
    of_row = np.repeat(samples.offsets[:-1], [len(stream.targets) for stream in streams])
    table = dataclasses.replace(joint.targets, of=np.where(joint.targets.of >= 0, joint.targets.of + of_row, joint.targets.of))
    parent = np.repeat(numbers, [stream.layout.num_sequences for stream in streams])
    source = np.where(joint.source >= 0, joint.source + of_slot, joint.source)
    return dataclasses.replace(joint, source=source, targets=table, layout=dataclasses.replace(joint.layout, parent=parent))


def within(view: View, samples: SampleColumns, modality: str) -> View:
    """Return a view of one modality's samples (:meth:`SampleColumns.only`) in the batch coordinates of all modalities."""
    return _moved(view, samples.index[modality])


def within_rows(view: View, samples: SampleColumns, rows: Ints) -> View:
    """Return a view of the samples ``rows`` (:meth:`SampleColumns.take`) in the batch coordinates of all samples."""
    return _moved(view, ranges(samples.offsets[rows], samples.lengths[rows]))


def _moved(view: View, index: Ints) -> View:
    """Return a view whose tokens are numbered by ``index`` (n',); negative numbers stay."""

    def gathered(places: Ints) -> Ints:
        return np.where(places >= 0, np.append(index, -1)[places], places)

    def moved(stream: Stream) -> Stream:
        table = dataclasses.replace(stream.targets, of=gathered(stream.targets.of))
        return dataclasses.replace(stream, source=gathered(stream.source), targets=table)

    return dataclasses.replace(view, context=moved(view.context), query=None if view.query is None else moved(view.query))
