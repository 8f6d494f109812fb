"""Streams and views of a whole micro-batch, in batch coordinates.

B samples, n tokens of all of them, T slots, S sequences, N targets; A position axes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import (
    CONTENT,
    AttentionKind,
    Layout,
    SampleColumns,
    Stream,
    Targets,
    View,
)
from omnimask.packed import follows_prefix, ranges
from omnimask.streams import is_plain, no_targets, stack

Ints = NDArray[np.int64]


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
    block: Ints | None = None,
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
        rank, block: (T,) visibility; 0 everywhere if None.
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
    attention, prefix = visibility_of(rank, block, lengths)
    return Stream(
        source=source,
        literal=np.full(count, CONTENT, np.int64) if literal is None else literal,
        modality=modality,
        positions=np.asarray(positions, np.float32),
        has_position=np.ones(count, bool) if has_position is None else has_position,
        rank=np.zeros(count, np.int64) if rank is None else rank,
        block=np.zeros(count, np.int64) if block is None else block,
        layout=Layout(lengths, number, attention, one_modality(only, lengths), prefix),
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


def visibility_of(rank: Ints | None, block: Ints | None, lengths: Ints) -> tuple[AttentionKind, Ints | None]:
    """Return the cheapest attention kind for sequences of ``lengths`` (S,), and their prefixes (S,) if it is ``ranked``.

    The prefixes are None if a sequence has other ranks; see :class:`omnimask.interfaces.Layout`.
    """
    kind = attention_of(rank, block, lengths)
    if kind != "ranked" or rank is None or not len(rank):
        return kind, None
    starts = np.cumsum(lengths) - lengths
    is_first = np.zeros(len(rank) + 1, bool)
    is_first[starts] = True
    is_step = np.append(True, np.diff(rank) != 0) | is_first[:-1]  # (T,) slots that differ from the one before
    # The prefix ends before the second step of a sequence, or with the sequence.
    steps = np.flatnonzero(is_step)
    second = np.searchsorted(steps, starts, side="right")
    ends = np.append(steps, len(rank))[np.minimum(second, len(steps))]
    prefix = np.minimum(ends - starts, lengths)
    prefix = np.where((prefix == 1) & (lengths > 1), 0, prefix)
    has_blocks = block is not None and bool(((np.diff(block) != 0) & ~is_first[1:-1]).any())
    layout = Layout(lengths, np.arange(len(lengths)), kind, prefix=prefix)
    return kind, prefix if not has_blocks and follows_prefix(layout, rank, np.zeros_like(rank)) else None


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
        layout=Layout(
            layout.lengths[order],
            owner[order],
            layout.attention,
            _modality(layout)[order],
            None if layout.prefix is None else layout.prefix[order],
        ),
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
    attention, prefix = visibility_of(stream.rank, stream.block, lengths)
    layout = Layout(lengths, np.arange(num_samples), attention, one_modality(stream.modality, lengths), prefix)
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
