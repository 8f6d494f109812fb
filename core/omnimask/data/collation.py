"""Packing of samples and their views into one batch: sample coordinates become store coordinates.

P store tokens, T slots, B samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.data.border import Owners, check_axes, check_stream, check_stream_values, check_token_values
from omnimask.data.sample_columns import columns_of
from omnimask.data.view_fields import CarriedFields, Fields, packed_fields, whole_fields
from omnimask.interfaces import (
    CONTENT,
    Asked,
    Draws,
    FieldSpec,
    Layout,
    MaskedBatch,
    Packed,
    Reads,
    Sample,
    SampleColumns,
    Stream,
    Targets,
    TokenColumns,
    Tokens,
    TokenSpec,
    View,
)
from omnimask.packed import ranges, to_tensors
from omnimask.streams import is_plain, stack


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
    return collate_columns(columns_of(samples, specs, labels), {name: [view[name] for view in views] for name in views[0]}, specs)


def collate_columns(
    samples: SampleColumns, views: Mapping[str, View | Sequence[View]], specs: Mapping[str, TokenSpec]
) -> MaskedBatch:
    """Pack samples and their views into one batch; see :func:`collate`.

    A view is one of all samples in batch coordinates, as :func:`omnimask.data.border.check_whole_view` returns it, or a sequence of
    one for each sample in the sample's own.
    """
    base = dict(zip(specs, np.cumsum([0, *(samples.tokens[m].num_tokens for m in specs)])[:-1].tolist(), strict=True))
    numbers = np.arange(samples.num_samples)
    layouts = {m: Layout(n, numbers) for m, n in zip(specs, np.ascontiguousarray(samples.lengths_by_modality.T), strict=True)}
    fields = {m: _fields(samples.tokens[m], spec) for m, spec in specs.items()}
    for m, spec in specs.items():
        tokens = samples.tokens[m]
        check_token_values(Tokens(tokens.content, tokens.positions, fields[m]), spec, spec.num_special_rows)
    carry = CarriedFields(specs, fields, layouts, base)
    packed = {name: _packed(view, samples, specs, base) for name, view in views.items()}
    batch = MaskedBatch(
        store={m: Packed(samples.tokens[m].content, layouts[m]) for m in specs},
        base=base,
        views={name: carry(view, own) for name, (view, own) in packed.items()},
        group=_groups(samples.draws),
        keys=samples.draws.keys,
        fields=fields,
        labels=samples.labels,
    )
    return to_tensors(batch)


def _fields(tokens: TokenColumns, spec: TokenSpec) -> dict[str, NDArray[Any]]:
    return {name: (tokens.pairs if field.arity == 2 else tokens.fields)[name] for name, field in spec.fields.items()}


def _packed(
    view: View | Sequence[View], samples: SampleColumns, specs: Mapping[str, TokenSpec], base: Mapping[str, int]
) -> tuple[View, Fields]:
    """Return a view in store coordinates, and the fields that it overrides."""
    if isinstance(view, View):
        return _pack_whole_view(view, samples, specs, base), whole_fields(view, samples, specs)
    each = samples.samples
    return _pack_view(view, _StoreCoordinates(each, samples, base), specs, base), packed_fields(each, view, specs)


class _StoreCoordinates:
    """Mapping from sample coordinates to store coordinates."""

    def __init__(self, samples: Sequence[Sample], columns: SampleColumns, base: Mapping[str, int]) -> None:
        lengths = dict(zip(columns.tokens, columns.lengths_by_modality.T, strict=True))
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


def _groups(draws: Draws) -> NDArray[np.int64]:
    """Return ascending group numbers (B,). Neighbours in the same group share a number; other samples have one each."""
    named = [(draw.epoch, draw.group) if draw.group else None for draw in draws]
    is_next = [row > 0 and (name is None or name != named[row - 1]) for row, name in enumerate(named)]
    return np.cumsum(np.array(is_next, np.int64))


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
    check_axes(joint, specs)
    owner = np.arange(len(streams))
    slot_owner = np.repeat(owner, [s.layout.num_slots for s in streams])
    row_owner = np.repeat(owner, [len(s.targets) for s in streams])
    sequence_owner = np.repeat(owner, [s.layout.num_sequences for s in streams])
    check_stream_values(joint, specs, to_store.size, num_parents, Owners(slot_owner, row_owner, sequence_owner))
    parent = joint.layout.parent + (np.cumsum(num_parents) - num_parents)[sequence_owner]
    return _in_store(joint, to_store(joint.source, slot_owner), to_store(joint.targets.of, row_owner), parent, specs, base)


def _pack_whole_view(view: View, samples: SampleColumns, specs: Mapping[str, TokenSpec], base: Mapping[str, int]) -> View:
    """Return a view of all samples in store coordinates."""
    to_store = None
    if len(specs) > 1:
        to_store = np.full(int(samples.offsets[-1]) + 1, -1)  # index -1 stays -1
        for m in specs:
            to_store[samples.index[m]] = base[m] + np.arange(samples.tokens[m].num_tokens)
    streams = [_pack_whole(stream, to_store, specs, base) for stream in (view.context, view.query) if stream is not None]
    return View(streams[0], streams[1] if len(streams) > 1 else None, hidden={m: view.hidden.get(m, (0, 0)) for m in specs})


def _pack_whole(
    stream: Stream,
    to_store: NDArray[np.int64] | None,
    specs: Mapping[str, TokenSpec],
    base: Mapping[str, int],
) -> Stream:
    """Return a stream of all samples in store coordinates. ``to_store`` (n + 1,) is None if they are the batch coordinates."""
    source, of = stream.source, stream.targets.of
    if to_store is not None:
        source, of = to_store[source], to_store[of]
    return _in_store(stream, source, of, stream.layout.parent, specs, base)


def _in_store(
    joint: Stream,
    source: NDArray[np.int64],
    of: NDArray[np.int64],
    parent: NDArray[np.int64],
    specs: Mapping[str, TokenSpec],
    base: Mapping[str, int],
) -> Stream:
    """Return the streams of B samples with store coordinates ``source`` (T,) and ``of`` (N,), and everything set by packing."""
    missing = max(spec.axes for spec in specs.values()) - joint.positions.shape[1]
    layout = joint.layout if parent is joint.layout.parent else dataclasses.replace(joint.layout, parent=parent)
    table = _by_modality(dataclasses.replace(joint.targets, of=of), joint, specs, base)
    return dataclasses.replace(
        joint,
        source=source,
        positions=np.pad(joint.positions, ((0, 0), (0, missing))) if missing else joint.positions,
        layout=layout,
        targets=table,
        asked=_asked(table, layout) if table.arity == 1 else None,
        reads={m: _reads(joint, source, number, base[m], is_only=len(specs) == 1) for number, m in enumerate(specs)},
    )


def _asked(table: Targets, layout: Layout) -> Asked:
    at = table.at[:, 0]
    slots = at if bool((at[1:] > at[:-1]).all()) else np.unique(at)  # ascending, so grouped by sequence
    row = np.full(layout.num_slots, -1)
    row[slots] = np.arange(len(slots))  # (T,) slot -> row among the asked slots, -1 for others
    lengths = np.diff(np.searchsorted(slots, layout.offsets))
    return Asked(slots, row, Layout(lengths, np.arange(layout.num_sequences)))


def _reads(stream: Stream, source: NDArray[np.int64], number: int, base: int, *, is_only: bool) -> Reads:
    shows_content, shows_literal = (source >= 0) & (stream.literal == CONTENT), stream.literal >= 0
    if not is_only:
        is_here = stream.modality == number
        shows_content, shows_literal = is_here & shows_content, is_here & shows_literal
    slots, literal_slots = np.flatnonzero(shows_content), np.flatnonzero(shows_literal)
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
