"""Sequences and targets of a view: repetitions, parts of its tokens, targets everywhere. Of one sample, or of a micro-batch.

Functions that take ``samples`` accept one sample, with everything in its coordinates, or the columns of a micro-batch. n tokens, B
samples (1 for a single one), T slots, S sequences, N targets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.columns import within_rows
from omnimask.columns.views import one_modality, visibility_of
from omnimask.interfaces import SPECIAL, Layout, Masking, MaskingColumns, Sample, SampleColumns, Stream, Targets, View
from omnimask.streams import stack, targets

Ints = NDArray[np.int64]
Samples = Sample | SampleColumns
Maskings = Mapping[str, Masking] | Mapping[str, MaskingColumns]


# ---- repetitions


def joined_repetitions(views: Sequence[View], origin: str) -> View:
    """Join the views of a sample's repetitions to one with all their sequences. Each query keeps its own context as parent.

    Raises:
        ValueError: a view overrides fields.
    """
    if len(views) == 1:
        return views[0]
    _check_fields(views, origin)
    firsts = np.cumsum([0, *(view.context.layout.num_sequences for view in views[:-1])]).tolist()
    queries = [_with_parents(view.query, first) for view, first in zip(views, firsts, strict=True) if view.query is not None]
    if len(queries) not in (0, len(views)):
        raise ValueError(f"{origin} returned a query stream for only some of a sample's repetitions")
    hidden = {name: _total([view.hidden[name] for view in views]) for name in views[0].hidden}
    return View(stack([view.context for view in views]), stack(queries) if queries else None, hidden=hidden)


def of_repeated_samples(view: View, samples: SampleColumns, times: int, origin: str) -> View:
    """Return a view of repeated samples (:func:`omnimask.columns.repeated`) as one of the samples, with all their sequences.

    Raises:
        ValueError: it overrides fields.
    """
    if times == 1:
        return view
    _check_fields([view], origin)
    rows = np.repeat(np.arange(samples.num_samples), times)
    moved = within_rows(view, samples, rows)
    layout = moved.context.layout
    context = dataclasses.replace(moved.context, layout=dataclasses.replace(layout, parent=rows[layout.parent]))
    return dataclasses.replace(moved, context=context)


def _with_parents(stream: Stream, first: int) -> Stream:
    return dataclasses.replace(stream, layout=dataclasses.replace(stream.layout, parent=stream.layout.parent + first))


def _total(counts: Sequence[tuple[int, int]]) -> tuple[int, int]:
    hidden, candidates = zip(*counts, strict=True)
    return sum(hidden), sum(candidates)


def _check_fields(views: Sequence[View], origin: str) -> None:
    if names := sorted({name for view in views for name in view.fields}):
        raise ValueError(f"{origin} changes the fields {names}, which all sequences of a sample share; remove repeat from its view")


# ---- targets


def asking_all(view: View, samples: Samples, maskings: Maskings, origin: str) -> View:
    """Return a view whose context asks for every token except special ones, at its own slot, weighted by its masking.

    Targets that are not tokens, as those of whole units, remain, behind the tokens of their sample.

    Raises:
        ValueError: a token does not have exactly one slot.
    """
    stream = view.context
    wanted = ~_flat(samples, {name: _special(tokens) for name, tokens in samples.tokens.items()}, bool)
    # Inserted slots, with source -1, read the last entry.
    at = np.flatnonzero(np.append(wanted, False)[stream.source])
    of = stream.source[at]
    counts = np.bincount(of, minlength=len(wanted))
    if not np.array_equal(counts, wanted):
        number = int(np.count_nonzero(counts != wanted))
        raise ValueError(
            f"ask: all needs a slot for every token, but {origin} gives {number} of {len(wanted)} tokens none or several; use a "
            "corruptor that keeps all tokens (mask_token)"
        )
    table = targets(at, of, weight=_weights(samples, maskings)[of])
    others = np.flatnonzero(np.asarray(stream.targets.of) < 0)
    if len(others):
        table = _appended(table, stream.targets, others, stream.layout)
    return dataclasses.replace(view, context=dataclasses.replace(stream, targets=table))


def _appended(table: Targets, other: Targets, rows: Ints, layout: Layout) -> Targets:
    """Return rows at tokens, followed by ``rows`` of another table of the same stream, sequence by sequence."""
    index = np.zeros(len(other), np.int64) if other.index is None else other.index
    at = np.concatenate([table.at[:, 0], other.at[rows, 0]])
    order = np.argsort(_numbers(layout)[at], kind="stable")
    return targets(
        at[order],
        np.concatenate([table.of, other.of[rows]])[order],
        literal=np.concatenate([table.literal, other.literal[rows]])[order],
        weight=np.concatenate([table.weight, other.weight[rows]])[order],
        index=None if other.index is None else np.concatenate([np.zeros(len(table), np.int64), index[rows]])[order],
    )


def _weights(samples: Samples, maskings: Maskings) -> NDArray[np.float32]:
    weights = {name: masking.weight for name, masking in maskings.items()}
    parts = {n: np.ones(len(t.positions), np.float32) if (w := weights[n]) is None else w for n, t in samples.tokens.items()}
    return _flat(samples, parts, np.float32)


def _special(tokens: Any) -> NDArray[np.bool_]:
    special = tokens.fields.get(SPECIAL)
    return np.zeros(len(tokens.positions), bool) if special is None else np.asarray(special, bool)


# ---- parts of the tokens


def restricted(view: View, numbers: Sequence[int]) -> View:
    """Return a view with the slots of some modalities, given by their ``numbers``, and with the targets at these slots.

    Everything else is as in the whole view, so two views restricted to different modalities never show a token that the whole view
    hides. Sequences of the context stay, if necessary empty. Sequences of the query without slots are left out.
    """
    context, query = view.context, view.query
    kept = np.flatnonzero(np.isin(context.modality, numbers))
    lengths = np.bincount(_numbers(context.layout)[kept], minlength=context.layout.num_sequences)
    context = _with_sequences(context, kept, lengths, np.arange(len(lengths)))
    if query is not None:
        kept = np.flatnonzero(np.isin(query.modality, numbers))
        lengths = np.bincount(_numbers(query.layout)[kept], minlength=query.layout.num_sequences)
        held = np.flatnonzero(lengths)
        query = _with_sequences(query, kept, lengths[held], held)
    return dataclasses.replace(view, context=context, query=query)


def split(view: View, samples: Samples, field: str, modalities: Sequence[str], origin: str) -> View:
    """Return a view with a sequence for each run of equal values of a field of tokens.

    A run is a stretch of adjacent tokens of one modality. The runs of the clean sample determine the sequences, so a run whose
    tokens are all hidden has an empty context. Sequences of the query are divided likewise, and belong to their run's context.
    Slots keep their positions.

    Args:
        view: with one context sequence for each sample.
        samples: of the view.
        field: name of the field.
        modalities: of the view; others have no runs.
        origin: description of the corruptor for messages.

    Raises:
        ValueError: a slot shows no token.
    """
    run, counts = _runs(samples, field, modalities)
    for name, stream in (("context", view.context), ("query", view.query)):
        if stream is not None and np.any(stream.source < 0):
            raise ValueError(
                f"split: {field} needs a token for every slot, but {origin} inserts slots into the {name}; use a corruptor without "
                "inserted slots (mask_token, keep, drop)"
            )
    slots = run[view.context.source]
    order = np.argsort(slots, kind="stable")
    of = np.repeat(np.arange(len(counts)), counts)
    context = _with_sequences(view.context, order, np.bincount(slots, minlength=int(counts.sum())), of)
    query = view.query
    if query is not None:
        # Sorted by run, and within a run in the order of the sequences.
        key = run[query.source] * query.layout.num_sequences + _numbers(query.layout)
        found, lengths = np.unique(key, return_counts=True)
        parent, of = np.divmod(found, max(query.layout.num_sequences, 1))
        query = _with_sequences(query, np.argsort(key, kind="stable"), lengths, of, parent=parent)
    return dataclasses.replace(view, context=context, query=query)


def _runs(samples: Samples, field: str, modalities: Sequence[str]) -> tuple[Ints, Ints]:
    """Return the run of each token (n,), -1 if it has none, and the number of sequences of each sample (B,), at least 1."""
    held = [name in modalities for name in samples.modalities]
    values = {n: t.fields[field] if n in modalities else np.zeros(len(t.positions), np.int64) for n, t in samples.tokens.items()}
    value, modality = _flat(samples, values, np.int64), samples.modality
    lengths = np.array([len(samples)]) if isinstance(samples, Sample) else samples.lengths
    owner = np.repeat(np.arange(len(lengths)), lengths)
    is_held = np.array(held)[modality]
    starts = np.ones(len(owner), bool)
    starts[1:] = (np.diff(value) != 0) | (np.diff(modality) != 0) | (np.diff(owner) != 0)
    starts &= is_held
    counts = np.bincount(owner[starts], minlength=len(lengths))
    # A sample without runs has one empty sequence.
    empty = np.cumsum(counts == 0) - (counts == 0)
    run = np.cumsum(starts) - 1 + empty[owner]
    return np.where(is_held, run, -1), np.maximum(counts, 1)


def _with_sequences(stream: Stream, slots: Ints, lengths: Ints, of: Ints, *, parent: Ints | None = None) -> Stream:
    """Return a stream with other sequences.

    Args:
        stream: the old one.
        slots: (T',) of the old stream, in the new order.
        lengths: (S',) slots of each new sequence.
        of: (S',) old sequence from which each new one is taken.
        parent: (S',) of the new sequences; None: that of the old one.
    """
    layout, table = stream.layout, stream.targets
    if table.arity != 1 and len(table):
        raise ValueError("a view with of or split needs targets of single slots")
    place = np.full(layout.num_slots, -1)
    place[slots] = np.arange(len(slots))
    at = place[table.at[:, 0]]
    rows = np.flatnonzero(at >= 0)
    by_slot = {name: getattr(stream, name)[slots] for name in _BY_SLOT}
    attention, prefix = ("full", None) if layout.attention == "full" else visibility_of(by_slot["rank"], by_slot["block"], lengths)
    return dataclasses.replace(
        stream,
        **by_slot,
        noise=None if stream.noise is None else stream.noise[slots],
        layout=Layout(
            lengths,
            layout.parent[of] if parent is None else parent,
            attention,
            one_modality(by_slot["modality"], lengths),
            prefix,
        ),
        targets=dataclasses.replace(
            table,
            at=at[rows][:, None],
            of=table.of[rows],
            literal=table.literal[rows],
            weight=table.weight[rows],
            index=None if table.index is None else table.index[rows],
        ),
        kind=stream.kind[of],
        level=stream.level[of],
    )


_BY_SLOT = ("source", "literal", "modality", "positions", "has_position", "rank", "block")


def _numbers(layout: Layout) -> Ints:
    """Return the sequence of each slot, (T,)."""
    return np.repeat(np.arange(layout.num_sequences), layout.lengths)


def _flat(samples: Samples, parts: Mapping[str, Any], dtype: type) -> NDArray[Any]:
    """Return arrays of the modalities in the coordinates of all tokens, (n,)."""
    if isinstance(samples, SampleColumns):
        return samples.joint(parts, dtype)
    return np.concatenate([np.zeros(0, dtype), *(np.asarray(parts[name], dtype) for name in samples.tokens)])
