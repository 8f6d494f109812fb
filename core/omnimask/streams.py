"""Construction of streams on the host, for corruptors.

All indices are sample coordinates (see :class:`omnimask.interfaces.Sample`); packing a batch converts them to store coordinates. T
slots, S sequences, N targets, A position axes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import CONTENT, AttentionKind, Layout, Sample, Stream, Targets, View
from omnimask.packed import joint_attention


def no_targets(arity: int = 1) -> Targets:
    """Return a table without rows."""
    empty = np.zeros(0, np.int64)
    return Targets(np.zeros((0, max(arity, 1)), np.int64), empty, empty, np.zeros(0, np.float32))


def targets(at: Any, of: Any, *, literal: Any | None = None, weight: Any | None = None, index: Any | None = None) -> Targets:
    """Return targets at slots: ``at`` (N,), ``of`` (N,) sample coordinates or -1, ``literal`` (N,) or None, ``weight`` (N,) or
    None."""
    at, of = np.asarray(at, np.int64), np.asarray(of, np.int64)
    return Targets(
        at[:, None],
        of,
        np.full(len(of), -1, np.int64) if literal is None else np.asarray(literal, np.int64),
        np.ones(len(of), np.float32) if weight is None else np.asarray(weight, np.float32),
        None if index is None else np.asarray(index, np.int64),
    )


def sequence(
    sample: Sample,
    source: Any,
    *,
    literal: Any | None = None,
    modality: Any | None = None,
    positions: Any | None = None,
    has_position: Any | None = None,
    rank: Any | None = None,
    block: Any | None = None,
    targets: Targets | None = None,
    kind: int = 0,
    level: float = 0.0,
) -> Stream:
    """Return a stream of one sequence.

    Args:
        sample: the slots point to its tokens.
        source: (T,) sample coordinates, -1 for inserted slots.
        literal: (T,) ids shown instead of content; ``CONTENT`` everywhere if None.
        modality: (T,) modality indices; required for inserted slots, defaults to the source's.
        positions: (T, A); the source's if None (inserted slots then have none).
        has_position: (T,) bool; defaults to True where the slot has a source, or everywhere if ``positions`` is given.
        rank, block: (T,) visibility; 0 everywhere if None.
    """
    source = np.asarray(source, np.int64)
    rank, block = (None if part is None else np.asarray(part, np.int64) for part in (rank, block))
    attention, prefix = visibility(rank, block)
    count, is_token = len(source), source >= 0
    has_tokens_only = bool(is_token.all())
    if modality is None:
        if not has_tokens_only:
            raise ValueError("inserted slots need a modality")
        modality = sample.modality[source]
    if positions is None:
        has_position = is_token if has_position is None else has_position
        positions = sample.positions[source] if has_tokens_only else _where_tokens(sample, source, is_token)
    return Stream(
        source=source,
        literal=np.full(count, CONTENT, np.int64) if literal is None else np.asarray(literal, np.int64),
        modality=np.asarray(modality, np.int64),
        positions=np.asarray(positions, np.float32),
        has_position=np.ones(count, bool) if has_position is None else np.asarray(has_position, bool),
        rank=np.zeros(count, np.int64) if rank is None else rank,
        block=np.zeros(count, np.int64) if block is None else block,
        layout=Layout(np.array([count]), np.zeros(1, np.int64), attention, np.array([_one_modality(np.asarray(modality))]), prefix),
        targets=no_targets() if targets is None else targets,
        kind=np.array([kind]),
        level=np.array([level]),
    )


def _where_tokens(sample: Sample, source: NDArray[np.int64], is_token: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the sources' positions (T, A), zeros for inserted slots."""
    out = np.zeros((len(source), sample.positions.shape[1]), np.float32)
    out[is_token] = sample.positions[source[is_token]]
    return out


def no_sequences() -> Stream:
    """Return an empty stream: the query of a sample without targets."""
    empty, none = np.zeros(0, np.int64), np.zeros((0, 1), np.float32)
    layout = Layout(empty, empty, "full", empty)
    return Stream(empty, empty, empty, none, np.zeros(0, bool), empty, empty, layout, no_targets(), empty, np.zeros(0))


def attention_kind(rank: NDArray[np.int64] | None, block: NDArray[np.int64] | None) -> AttentionKind:
    """Return the cheapest attention kind that describes one sequence's visibility."""
    if block is not None and np.any(block != block[:1]):
        return "ranked"
    if rank is None or np.all(rank == rank[:1]):
        return "full"
    return "causal" if np.all(np.diff(rank) > 0) else "ranked"


def visibility(rank: NDArray[np.int64] | None, block: NDArray[np.int64] | None) -> tuple[AttentionKind, NDArray[np.int64] | None]:
    """Return the cheapest attention kind of one sequence, and its prefix (1,) if it is ``ranked`` and has one."""
    kind = attention_kind(rank, block)
    if kind != "ranked" or rank is None or (block is not None and np.any(block != block[:1])):
        return kind, None
    # The ranks of a prefix are equal, and those of all later slots count up.
    is_step = np.diff(rank) > 0
    first = int(is_step.argmax())  # between the last slot of the prefix and the next one
    is_prefix = bool(is_step[first:].all() and np.all(rank[: first + 1] == rank[0]))
    return kind, np.array([first + 1]) if is_prefix else None


def _one_modality(modality: NDArray[np.int64]) -> int:
    return int(modality[0]) if len(modality) and bool((modality == modality[0]).all()) else -1


def move(stream: Stream, tokens: int) -> Stream:
    """Return the stream with its store references shifted by ``tokens`` (from a part's coordinates to the whole sample's)."""
    table = dataclasses.replace(stream.targets, of=_shift(stream.targets.of, tokens))
    return dataclasses.replace(stream, source=_shift(stream.source, tokens), targets=table)


def _shift(index: NDArray[np.int64], by: Any) -> NDArray[np.int64]:
    return np.where(index >= 0, index + by, index)


def stack(streams: Sequence[Stream]) -> Stream:
    """Concatenate streams. Sequences stay separate; parents are unchanged."""
    if len(streams) == 1:
        return streams[0]
    firsts = np.cumsum([0, *(stream.layout.num_slots for stream in streams[:-1])])
    sequences = np.cumsum([0, *(stream.layout.num_sequences for stream in streams[:-1])])
    layouts = [stream.layout for stream in streams]
    attention, prefix = joint_attention(layouts)
    layout = Layout(
        np.concatenate([layout.lengths for layout in layouts]),
        np.concatenate([layout.parent for layout in layouts]),
        attention,
        np.concatenate([_modalities(layout) for layout in layouts]),
        prefix,
    )
    tables = [
        dataclasses.replace(s.targets, at=s.targets.at + (first if s.targets.arity else row))
        for s, first, row in zip(streams, firsts.tolist(), sequences.tolist(), strict=True)
    ]
    axes = max(stream.positions.shape[1] for stream in streams)
    return Stream(
        source=_join(streams, "source"),
        literal=_join(streams, "literal"),
        modality=_join(streams, "modality"),
        positions=np.concatenate([_with_axes(stream.positions, axes) for stream in streams]),
        has_position=_join(streams, "has_position"),
        rank=_join(streams, "rank"),
        block=_join(streams, "block"),
        layout=layout,
        targets=_join_targets(tables),
        kind=_join(streams, "kind"),
        level=_join(streams, "level"),
        noise=None if any(stream.noise is None for stream in streams) else _join(streams, "noise"),
    )


def chain(streams: Sequence[Stream]) -> Stream:
    """Join several one-sequence streams into one sequence. Parts see each other according to their ranks."""
    joint = stack(streams)
    attention, prefix = visibility(joint.rank, joint.block)
    layout = Layout(
        np.array([joint.layout.num_slots]),
        np.zeros(1, np.int64),
        attention,
        np.array([_one_modality(joint.modality)]),
        prefix,
    )
    return dataclasses.replace(joint, layout=layout, kind=joint.kind[:1], level=joint.level[:1])


def join_views(sample: Sample, parts: Sequence[tuple[str, View]]) -> View:
    """Join the views of a sample's modalities. Contexts become one sequence; queries stay separate sequences."""
    contexts = [move(view.context, sample.start[name]) for name, view in parts]
    queries = [move(view.query, sample.start[name]) for name, view in parts if view.query is not None]
    return View(chain(contexts), stack(queries) if queries else None, _joined_fields(parts))


def _joined_fields(parts: Sequence[tuple[str, View]]) -> dict[str, Any]:
    """Merge the fields of several views by name, or as ``modality.name`` if several have a field of this name."""
    names = [name for _, view in parts for name in view.fields]
    return {
        f"{modality}.{name}" if names.count(name) > 1 else name: value
        for modality, view in parts
        for name, value in view.fields.items()
    }


def is_plain(stream: Stream) -> bool:
    """Return whether all types are exact and counts agree, as in the output of :func:`omnimask.streams.sequence`.

    Counts of stacked streams are sums over samples. If False, a check of each sample finds the violation.
    """
    slots, table, prefix = stream.source.shape, stream.targets, stream.layout.prefix
    rows = table.of.shape
    return (
        slots == stream.literal.shape == stream.modality.shape == stream.rank.shape == stream.block.shape
        and slots == stream.has_position.shape == stream.positions.shape[:1] == (stream.layout.num_slots,)
        and stream.positions.ndim == 2
        and stream.layout.lengths.shape == stream.kind.shape == stream.level.shape == stream.layout.parent.shape
        and table.at.shape == (*rows, table.arity or 1)
        and rows == table.literal.shape == table.weight.shape
        and stream.has_position.dtype is _BOOL
        and table.weight.dtype is _FLOAT32
        and stream.source.dtype is stream.literal.dtype is stream.modality.dtype is _INT64
        and stream.rank.dtype is stream.block.dtype is table.at.dtype is table.of.dtype is table.literal.dtype is _INT64
        and (table.index is None or (table.index.shape == rows and table.index.dtype is _INT64))
        and (prefix is None or (prefix.shape == stream.layout.lengths.shape and prefix.dtype is _INT64))
    )


_BOOL, _INT64, _FLOAT32 = np.dtype("bool"), np.dtype("int64"), np.dtype("float32")


def _modalities(layout: Layout) -> NDArray[np.int64]:
    return np.full(layout.num_sequences, -1) if layout.modality is None else layout.modality


def _with_axes(positions: NDArray[np.float32], axes: int) -> NDArray[np.float32]:
    missing = axes - positions.shape[1]
    return np.pad(positions, ((0, 0), (0, missing))) if missing else positions


def _join(streams: Sequence[Stream], name: str) -> NDArray[Any]:
    return np.concatenate([getattr(stream, name) for stream in streams])


def _join_targets(tables: Sequence[Targets]) -> Targets:
    filled = [table for table in tables if len(table)] or [tables[0]]
    if len({table.arity for table in filled}) > 1:
        raise ValueError("targets of one stream must have the same arity")
    index = None
    if any(table.index is not None for table in filled):  # None: one answer per slot, index 0
        index = np.concatenate([np.zeros(len(t), np.int64) if t.index is None else np.asarray(t.index) for t in filled])
    return Targets(
        np.concatenate([table.at for table in filled]),
        np.concatenate([table.of for table in filled]),
        np.concatenate([table.literal for table in filled]),
        np.concatenate([table.weight for table in filled]),
        index,
        filled[0].arity,
    )
