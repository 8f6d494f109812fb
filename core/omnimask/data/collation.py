"""Packing of samples and their views into one batch: sample coordinates become store coordinates.

P store tokens, T slots, B samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.data.border import Breach, Owners, check_stream, check_stream_values, check_token_values, is_plain
from omnimask.data.view_fields import CarriedFields
from omnimask.interfaces import (
    CONTENT,
    Asked,
    FieldSpec,
    Layout,
    MaskedBatch,
    Packed,
    Reads,
    Sample,
    Stream,
    Targets,
    Tokens,
    TokenSpec,
    View,
)
from omnimask.packed import ranges, to_tensors
from omnimask.streams import stack


def collate(
    samples: Sequence[Sample],
    views: Sequence[Mapping[str, View]],
    specs: Mapping[str, TokenSpec],
    labels: Mapping[str, FieldSpec] | None = None,
) -> MaskedBatch:
    """Pack samples and their views, by name, into one batch of torch tensors (CPU).

    The schema depends on ``specs`` and ``labels`` alone. Every modality, field and label of the recipe is present, with length 0 if
    no sample has it, and with -1 or NaN for an absent label.

    Raises:
        Breach: a value is out of its range or not finite.
    """
    lengths = {m: np.array([len(s.tokens[m]) if m in s.tokens else 0 for s in samples], np.int64) for m in specs}
    base = dict(zip(specs, np.cumsum([0, *(int(n.sum()) for n in lengths.values())])[:-1].tolist(), strict=True))
    to_store = _StoreCoordinates(samples, lengths, base)
    layouts = {m: Layout(n, np.arange(len(samples), dtype=np.int64)) for m, n in lengths.items()}
    by_view = {name: [view[name] for view in views] for name in views[0]}
    content = {m: _content(samples, m, spec) for m, spec in specs.items()}
    fields = {m: _fields(samples, m, spec) for m, spec in specs.items()}
    for m, spec in specs.items():
        check_token_values(Tokens(content[m], _positions(samples, m, spec), fields[m]), spec, spec.num_special_rows)
    carry = CarriedFields(samples, specs, fields, layouts, base)
    batch = MaskedBatch(
        store={m: Packed(content[m], layouts[m]) for m in specs},
        base=base,
        views={name: carry(_pack_view(chosen, to_store, specs, base), chosen) for name, chosen in by_view.items()},
        group=_groups(samples),
        keys=tuple(sample.draw.key for sample in samples),
        fields=fields,
        labels={name: _label(samples, name, spec) for name, spec in (labels or {}).items()},
    )
    return to_tensors(batch)


class _StoreCoordinates:
    """Mapping from sample coordinates to store coordinates."""

    def __init__(self, samples: Sequence[Sample], lengths: Mapping[str, NDArray[np.int64]], base: Mapping[str, int]) -> None:
        starts = {m: base[m] + np.concatenate([[0], np.cumsum(n)[:-1]]) for m, n in lengths.items()}
        pieces = [(starts[m][i], lengths[m][i]) for i, sample in enumerate(samples) for m in sample.tokens]
        first, size = (
            (np.array(column, np.int64) for column in zip(*pieces, strict=True)) if pieces else (np.zeros(0, np.int64),) * 2
        )
        self.flat = ranges(first, size)
        self.size = np.array([len(sample) for sample in samples], np.int64)
        self.offset = np.cumsum([0, *self.size])

    def __call__(self, index: NDArray[np.int64], sample: NDArray[np.int64]) -> NDArray[np.int64]:
        """Convert ``index`` (n,) of the samples numbered ``sample`` (n,) to store indices; -1 stays."""
        if not len(index) or not len(self.flat):
            return index
        return np.where(index >= 0, self.flat[np.maximum(index, 0) + np.where(index >= 0, self.offset[sample], 0)], -1)


def _content(samples: Sequence[Sample], modality: str, spec: TokenSpec) -> Any:
    dtype = np.int64 if spec.width is None else np.dtype(spec.dtype)
    parts = [np.asarray(s.tokens[modality].content, dtype) for s in samples if modality in s.tokens]
    return np.concatenate([np.zeros((0, *(spec.width or ())), dtype), *parts])


def _fields(samples: Sequence[Sample], modality: str, spec: TokenSpec) -> dict[str, NDArray[Any]]:
    out: dict[str, NDArray[Any]] = {}
    for name, field in spec.fields.items():
        dtype = np.dtype(field.dtype)
        parts = [np.asarray(s.tokens[modality].fields[name], dtype) for s in samples if modality in s.tokens]
        # fields of pairs (L, L, ...) are flattened per sample to (L * L, ...)
        flat = [part.reshape(-1, *field.shape) if field.arity == 2 else part for part in parts]
        out[name] = np.concatenate([np.zeros((0, *field.shape), dtype), *flat])
    return out


def _positions(samples: Sequence[Sample], modality: str, spec: TokenSpec) -> NDArray[Any]:
    parts = [np.asarray(s.tokens[modality].positions) for s in samples if modality in s.tokens]
    return np.concatenate([np.zeros((0, spec.axes), np.float32), *parts])


def _groups(samples: Sequence[Sample]) -> NDArray[np.int64]:
    """Return ascending group numbers (B,). Neighbours in the same group share a number; other samples have one each."""
    named = [(sample.draw.epoch, sample.draw.group) if sample.draw.group else None for sample in samples]
    is_next = [row > 0 and (name is None or name != named[row - 1]) for row, name in enumerate(named)]
    return np.cumsum(np.array(is_next, np.int64))


def _label(samples: Sequence[Sample], name: str, spec: FieldSpec) -> NDArray[Any]:
    dtype = np.dtype(spec.dtype)
    absent = np.full(spec.shape, np.nan if dtype.kind == "f" else -1, dtype)
    return np.stack([np.asarray(sample.labels.get(name, absent), dtype) for sample in samples])


def _pack_view(views: Sequence[View], to_store: _StoreCoordinates, specs: Mapping[str, TokenSpec], base: Mapping[str, int]) -> View:
    contexts = [view.context for view in views]
    context = _pack(contexts, np.ones(len(views), np.int64), to_store, specs, base)
    queries = [view.query for view in views if view.query is not None]
    hidden = {name: _total([view.hidden.get(name, (0, 0)) for view in views]) for name in specs}
    if not queries:
        return View(context, hidden=hidden)
    if len(queries) < len(views):
        raise ValueError("a corruptor must return a query stream (possibly empty) for all samples, or for none")
    num_parents = np.array([stream.layout.num_sequences for stream in contexts], np.int64)
    return View(context, _pack(queries, num_parents, to_store, specs, base), hidden=hidden)


def _total(counts: Sequence[tuple[int, int]]) -> tuple[int, int]:
    hidden, candidates = zip(*counts, strict=True)
    return sum(hidden), sum(candidates)


def _pack(
    streams: Sequence[Stream],
    num_parents: NDArray[np.int64],
    to_store: _StoreCoordinates,
    specs: Mapping[str, TokenSpec],
    base: Mapping[str, int],
) -> Stream:
    """Stack the streams of B samples in store coordinates. ``num_parents`` (B,) is the number of possible parents per sample."""
    joint = stack(streams)
    if not is_plain(joint):
        for stream in streams:
            check_stream(stream)
    axes = max(spec.axes for spec in specs.values())
    if joint.positions.shape[1] > axes:
        raise Breach(f"positions have {joint.positions.shape[1]} axes, but modalities have at most {axes}")
    owner = np.arange(len(streams))
    slot_owner = np.repeat(owner, [s.layout.num_slots for s in streams])
    row_owner = np.repeat(owner, [len(s.targets) for s in streams])
    sequence_owner = np.repeat(owner, [s.layout.num_sequences for s in streams])
    check_stream_values(joint, specs, to_store.size, num_parents, Owners(slot_owner, row_owner, sequence_owner))
    parent = joint.layout.parent + (np.cumsum(num_parents) - num_parents)[sequence_owner]
    source = to_store(joint.source, slot_owner)
    table = dataclasses.replace(joint.targets, of=to_store(joint.targets.of, row_owner))
    positions = np.pad(joint.positions, ((0, 0), (0, axes - joint.positions.shape[1])))
    layout = dataclasses.replace(joint.layout, parent=parent)
    table = _by_modality(table, joint, specs, base)
    return dataclasses.replace(
        joint,
        source=source,
        positions=positions,
        layout=layout,
        targets=table,
        asked=_asked(table, layout) if table.arity == 1 else None,
        reads={m: _reads(joint, source, number, base[m], is_only=len(specs) == 1) for number, m in enumerate(specs)},
    )


def _asked(table: Targets, layout: Layout) -> Asked:
    slots = np.unique(table.at[:, 0])  # ascending, so grouped by sequence
    row = np.full(layout.num_slots, -1)
    row[slots] = np.arange(len(slots))  # (T,) slot -> row among the asked slots, -1 for others
    lengths = np.diff(np.searchsorted(slots, layout.offsets))
    return Asked(slots, row, Layout(lengths, np.arange(layout.num_sequences)))


def _reads(stream: Stream, source: NDArray[np.int64], number: int, base: int, *, is_only: bool) -> Reads:
    is_here = stream.modality == number
    shows_content = is_here & (source >= 0) & (stream.literal == CONTENT)
    slots = np.flatnonzero(shows_content)
    literal_slots = np.flatnonzero(is_here & (stream.literal >= 0))
    fills = is_only and len(slots) == len(source)
    return Reads(source[slots] - base, None if fills else slots, stream.literal[literal_slots], literal_slots)


def _by_modality(table: Targets, stream: Stream, specs: Mapping[str, TokenSpec], base: Mapping[str, int]) -> Targets:
    """Sort rows by the modality of their answer, or of their slot if the answer isn't a token, and add each modality's span.

    Rows for whole units come after the others, with their own spans.
    """
    is_unit = np.zeros(len(table), bool) if table.index is None else table.index < 0
    if len(specs) == 1 and not is_unit.any():
        return dataclasses.replace(table, spans={Targets.span(next(iter(specs))): (0, len(table))})
    # Of several modalities that start at one index, searching from the right finds the last: the only one with tokens there.
    of_token = np.searchsorted(np.array(list(base.values())), table.of, side="right") - 1
    of_slot = stream.modality[table.at[:, 0]] if table.arity else np.zeros(len(table), np.int64)
    number = np.where(table.of >= 0, of_token, of_slot) + len(specs) * is_unit
    order = np.argsort(number, kind="stable")
    names = [*specs, *(Targets.span(m, units=True) for m in specs if is_unit.any())]
    bounds = np.searchsorted(number[order], np.arange(len(names) + 1)).tolist()  # span i is [bounds[i], bounds[i + 1])
    index = None if table.index is None else table.index[order]
    spans = {name: (bounds[i], bounds[i + 1]) for i, name in enumerate(names)}
    return Targets(table.at[order], table.of[order], table.literal[order], table.weight[order], index, table.arity, spans)
