"""Sequences in which hidden units take one slot each, and answers written from left to right.

n tokens of one modality, T slots, N answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnimask.columns import sequences
from omnimask.components.corruptors.base import JointMaskings, kind_of, level_of
from omnimask.components.maskers.ragged import numbered
from omnimask.interfaces import CONTENT, Masking, MaskingColumns, Sample, SampleColumns, Stream
from omnimask.streams import sequence, targets

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Shortened:
    """Slots of a shortened sequence.

    ``kept`` (T,) tokens with their own slot: the visible ones, and the first of every unit, for which ``is_unit`` (T,) is True.
    ``slot`` (n,) of every token; a hidden token has its unit's.
    """

    kept: Ints
    is_unit: NDArray[np.bool_]
    slot: Ints


def shorten(unit: Ints, corruptor: str) -> Shortened:
    """Assign one slot to every unit; ``unit`` (n,) is the number of a hidden token's unit, -1 for visible tokens.

    Raises:
        ValueError: the tokens of a unit are not adjacent.
    """
    # A unit in several pieces begins more than once.
    is_first = (unit >= 0) & (np.concatenate([[-1], unit[:-1]]) != unit)
    if int(is_first.sum()) != len(np.unique(unit[unit >= 0])):
        raise ValueError(f"{corruptor} needs contiguous spans; a unit of this masker is split")
    is_kept = (unit < 0) | is_first
    kept = np.flatnonzero(is_kept)
    # A token without a slot shares that of the last kept one: its unit's first token.
    return Shortened(kept, is_first[kept], np.cumsum(is_kept) - 1)


def hidden_units(masking: Masking) -> Ints:
    """Return (n,) index of each token's hidden span, -1 for visible tokens. Without units, spans are runs of hidden tokens.

    Raises:
        ValueError: a masking with units leaves a hidden token without one.
    """
    is_hidden = ~np.asarray(masking.is_visible, bool)
    if masking.unit is None:
        return gaps(is_hidden)
    unit = np.asarray(masking.unit, np.int64)
    if np.any(is_hidden & (unit < 0)):
        raise ValueError("a masking with units must assign every masked token to one")
    return np.where(is_hidden, unit, -1)


def gaps(is_hidden: NDArray[np.bool_]) -> Ints:
    """Return (n,) index of each token's run of hidden tokens, -1 for visible ones."""
    starts = is_hidden & ~np.concatenate([[False], is_hidden[:-1]])
    return np.where(is_hidden, np.cumsum(starts) - 1, -1)


def shorten_each(masking: MaskingColumns, owner: Ints, corruptor: str) -> Shortened:
    """Assign one slot to every hidden unit of all samples, as :func:`hidden_units` and :func:`shorten` do for one.

    Raises:
        ValueError: the tokens of a unit are not adjacent, or a hidden token has none.
    """
    is_hidden = ~masking.is_visible
    begins = np.concatenate([np.ones(min(len(owner), 1), bool), owner[1:] != owner[:-1]])
    if masking.unit is None:
        is_first = is_hidden & (begins | ~np.concatenate([[False], is_hidden[:-1]]))
    else:
        if np.any(is_hidden & (masking.unit < 0)):
            raise ValueError("a masking with units must assign every masked token to one")
        unit = np.where(is_hidden, masking.unit, -1)
        is_first = is_hidden & (begins | (np.concatenate([[-1], unit[:-1]]) != unit))
        if int(is_first.sum()) != numbered(unit[is_hidden], owner[is_hidden], len(masking.lengths)).count.sum():
            raise ValueError(f"{corruptor} needs contiguous spans; a unit of this masker is split")
    is_kept = ~is_hidden | is_first
    kept = np.flatnonzero(is_kept)
    return Shortened(kept, is_first[kept], np.cumsum(is_kept) - 1)


def contexts_of(
    samples: SampleColumns, joint: JointMaskings, short: Shortened, literal: Ints, *, renumber: bool, **options: Any
) -> Stream:
    """Return the shortened sequences of all samples, which have one modality; see :func:`context_of`."""
    lengths = np.bincount(samples.owner[short.kept], minlength=samples.num_samples)
    shown = np.full(len(short.kept), CONTENT, np.int64)
    shown[short.is_unit] = literal
    place = np.arange(len(short.kept)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return sequences(
        samples,
        options.pop("source", np.where(short.is_unit, -1, short.kept)),
        lengths,
        literal=shown,
        modality=samples.modality[short.kept],
        positions=place[:, None].astype(np.float32) if renumber else samples.positions[short.kept],
        level=joint.level,
        kind=joint.kind,
        **options,
    )


def context_of(
    sample: Sample, masking: Mapping[str, Masking], short: Shortened, literal: Ints, *, renumber: bool, **options: Any
) -> Stream:
    """Return the shortened sequence of a sample's only modality.

    Args:
        sample: of one modality.
        masking: of it.
        short: the tokens with slots.
        literal: ids shown at the slots of units, from left to right.
        renumber: positions count slots; otherwise a unit takes that of its first token.
        options: of :func:`omnimask.streams.sequence`; ``source`` of the units' slots defaults to -1.
    """
    count = len(short.kept)
    shown = np.full(count, CONTENT, np.int64)
    shown[short.is_unit] = literal
    source = options.pop("source", np.where(short.is_unit, -1, short.kept))
    return sequence(
        sample,
        source,
        literal=shown,
        modality=np.full(count, sample.modality[0] if len(sample) else 0),
        positions=np.arange(count)[:, None] if renumber else sample.positions[short.kept],
        level=level_of(masking),
        kind=kind_of(masking),
        **options,
    )


def written(
    sample: Sample,
    masking: Mapping[str, Masking],
    number: int,
    of: Ints,
    literal: Ints,
    start: int,
    *,
    place: Ints | None = None,
    weight: NDArray[np.float32] | None = None,
) -> Stream:
    """Return the query of an answer written from left to right.

    A decoder's input is the answer shifted right behind ``start``; each slot's target is the next element.

    Args:
        sample: of one modality.
        masking: of it.
        number: of the modality.
        of: (N,) tokens of the answer, -1 for ids.
        literal: (N,) ids of the answer, -1 for tokens.
        start: id shown by the first slot.
        place: (N,) token whose position a slot takes, -1 for none; None: positions count slots.
        weight: (N,) of the answers; 1 if None.
    """
    count = len(of)
    # Shifted right by one: slot i shows element i - 1, and its answer is element i.
    shown = np.concatenate([[start], literal[:-1]])
    return sequence(
        sample,
        np.concatenate([[-1], of[:-1]]),
        literal=np.where(shown >= 0, shown, CONTENT),
        modality=np.full(count, number),
        positions=np.arange(count)[:, None] if place is None else _positions_at(sample, place),
        has_position=None if place is None else place >= 0,
        rank=np.arange(count),
        targets=targets(np.arange(count), of, literal=literal, weight=weight),
        level=level_of(masking),
        kind=kind_of(masking),
    )


def written_each(
    samples: SampleColumns,
    joint: JointMaskings,
    lengths: Ints,
    of: Ints,
    literal: Ints,
    start: int,
    *,
    place: Ints | None = None,
    weight: NDArray[np.float32] | None = None,
) -> Stream:
    """Return the queries of all samples, which have one modality; see :func:`written`.

    ``lengths`` (B,) of the answers are at least 1.
    """
    count, begins = len(of), np.cumsum(lengths) - lengths
    shown = _shifted(literal, begins, start)
    slot = np.arange(count) - np.repeat(begins, lengths)
    positions = slot[:, None].astype(np.float32)
    if place is not None:
        positions = np.zeros((count, samples.positions.shape[1]), np.float32)
        positions[place >= 0] = samples.positions[place[place >= 0]]
    (name,) = samples.tokens
    return sequences(
        samples,
        _shifted(of, begins, -1),
        lengths,
        literal=np.where(shown >= 0, shown, CONTENT),
        modality=np.full(count, samples.modalities.index(name)),
        positions=positions,
        has_position=None if place is None else place >= 0,
        rank=slot,
        targets=targets(np.arange(count), of, literal=literal, weight=weight),
        level=joint.level,
        kind=joint.kind,
    )


def _shifted(values: Ints, begins: Ints, first: int) -> Ints:
    """Return values shifted right by one in each sequence; ``begins`` (S,) are the places of ``first``."""
    out = np.concatenate([[first], values[:-1]])
    out[begins] = first
    return out


def only_samples(samples: SampleColumns) -> str | None:
    """Return the name of the only modality if all samples have it, else None."""
    (name, *others) = samples.tokens
    return None if others or samples.tokens[name].num_samples != samples.num_samples else name


def _positions_at(sample: Sample, place: Ints) -> NDArray[np.float32]:
    """Return (N, A) positions of the tokens at ``place``, zeros for -1."""
    out = np.zeros((len(place), sample.positions.shape[1]), np.float32)
    out[place >= 0] = sample.positions[place[place >= 0]]
    return out
