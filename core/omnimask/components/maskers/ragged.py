"""Budgets and picks of many samples at once, equal bit for bit to those of :mod:`budget`, sample by sample.

B samples with ``lengths`` (B,) elements each, n elements of all samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import Draws

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_DIGITS = 53
"""Bits of a uniform number of a draw."""
_MOST_SAMPLES = 2 ** (64 - _DIGITS) - 1
"""Samples whose number fits beside a uniform number in 64 bits, less one for the end of the last."""
_MOST_KEYS = 2**62
"""Pairs of a sample and a name whose numbers fit in 64 bits."""
_MOST_PLACES = 16
"""Largest table for numbering names without a sort, in entries per element."""


def num_hidden_each(lengths: Ints, ratio: Floats, draws: Draws) -> Ints:
    """Return (B,) numbers of hidden elements; see :func:`budget.num_hidden`."""
    # Python's rounding, which differs from NumPy's in the last bit.
    exact = np.array([round(share * length, 9) for share, length in zip(ratio.tolist(), lengths.tolist(), strict=True)])
    whole = exact.astype(np.int64)
    rest = exact - whole
    is_open = rest > 0
    whole[is_open] += draws.uniform(is_open, "rounding") < rest[is_open]
    return whole


def pick_each(lengths: Ints, number: Ints, draws: Draws) -> NDArray[np.bool_]:
    """Return (n,) a uniformly drawn subset of ``number`` (B,) elements of each sample; see :func:`budget.pick`."""
    return lowest(draws.uniform(lengths, "order"), lengths, number)


def lowest(uniform: Floats, lengths: Ints, number: Ints) -> NDArray[np.bool_]:
    """Return (n,) True for the ``number`` (B,) lowest of each sample's numbers; of equal ones the first are taken.

    ``uniform`` (n,) are numbers of a draw, in [0, 1).
    """
    if len(lengths) > _MOST_SAMPLES:
        return _in_parts(uniform, lengths, number)
    keys = _keys(uniform, lengths)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    # In sorted order samples follow one another, each in the order of its numbers.
    ordered = np.append(np.sort(keys), np.uint64(len(lengths) << _DIGITS))
    # The first number that is not taken; behind a sample's last one it is the next sample's, which is larger.
    bound = ordered[starts + np.minimum(number, lengths)]
    is_picked = keys < np.repeat(bound, lengths)
    is_cut = (number > 0) & (number < lengths)
    for sample in np.flatnonzero(is_cut)[ordered[starts + number - 1][is_cut] == bound[is_cut]].tolist():
        own = slice(starts[sample], ends[sample])
        is_picked[own] = False
        is_picked[own][np.argsort(uniform[own], kind="stable")[: number[sample]]] = True
    return is_picked


def _in_parts(uniform: Floats, lengths: Ints, number: Ints) -> NDArray[np.bool_]:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    parts = []
    for first in range(0, len(lengths), _MOST_SAMPLES):
        last = min(first + _MOST_SAMPLES, len(lengths))
        parts.append(lowest(uniform[offsets[first] : offsets[last]], lengths[first:last], number[first:last]))
    return np.concatenate(parts)


def _keys(uniform: Floats, lengths: Ints) -> NDArray[np.uint64]:
    """Return (n,) integers in the order of sample and number; numbers of a draw are multiples of 2^-53."""
    owner = np.repeat(np.arange(len(lengths), dtype=np.uint64) << np.uint64(_DIGITS), lengths)
    return owner + (uniform * 2.0**_DIGITS).astype(np.uint64)


def order_each(uniform: Floats, lengths: Ints) -> Ints:
    """Return (n,) the elements sample by sample, and within a sample in ascending order of ``uniform``; ties keep their order."""
    if len(lengths) > _MOST_SAMPLES:
        owner = np.repeat(np.arange(len(lengths)), lengths)
        return np.lexsort((uniform, owner))
    keys = _keys(uniform, lengths)
    order = np.argsort(keys)
    ordered = keys[order]
    return np.argsort(keys, kind="stable") if bool((ordered[1:] == ordered[:-1]).any()) else order


@dataclass(frozen=True)
class Numbered:
    """Distinct names of each sample, numbered from 0 in ascending order.

    ``number`` (n,) of each element's name; ``count`` (B,) names of each sample; ``size`` (sum of counts,) elements of each name;
    ``place`` (n,) index of each element's name in ``size``.
    """

    number: Ints
    count: Ints
    size: Ints
    place: Ints


def numbered(names: Ints, owner: Ints, num_samples: int) -> Numbered:
    """Number the distinct ``names`` (n,), at least 0, of the samples ``owner`` (n,), as ``np.unique`` does for each sample."""
    span = int(names.max(initial=0)) + 1
    if span * num_samples > _MOST_KEYS:
        names = np.unique(names, return_inverse=True)[1]
        span = int(names.max(initial=0)) + 1
    keys = owner * span + names
    if num_samples * span <= _MOST_PLACES * max(len(names), 1):
        is_there = np.zeros(num_samples * span, bool)
        is_there[keys] = True
        place = (np.cumsum(is_there) - 1)[keys]
        count = is_there.reshape(num_samples, span).sum(axis=1)
    else:
        found, place = np.unique(keys, return_inverse=True)
        count = np.bincount(found // span, minlength=num_samples)
    size = np.bincount(place, minlength=int(count.sum()))
    return Numbered(place - (np.cumsum(count) - count)[owner], count, size, place)


def pick_units_each(size: Ints, counts: Ints, budget: Floats, draws: Draws) -> NDArray[np.bool_]:
    """Return (U,) units picked in random order up to ``budget`` (B,) tokens of each sample; see :func:`budget.pick_units`.

    ``size`` (U,) is the number of tokens of each unit, ``counts`` (B,) the number of units of each sample.
    """
    order = order_each(draws.uniform(counts, "order"), counts)
    owner = np.repeat(np.arange(len(counts)), counts)
    starts = np.cumsum(counts) - counts
    before = np.concatenate([[0], np.cumsum(size[order])])
    total = before[1:] - before[starts][owner]
    is_within = total <= (budget + 1e-9)[owner]
    taken = np.bincount(owner[is_within], minlength=len(counts))
    is_picked = np.zeros(len(size), bool)
    is_picked[order[is_within]] = True
    is_open = taken < counts
    following = (starts + taken)[is_open]
    spent = np.where(taken > 0, np.append(total, 0)[starts + taken - 1], 0)[is_open]
    missing = budget[is_open] - spent
    is_picked[order[following]] = draws.uniform(is_open, "last") < missing / size[order[following]]
    return is_picked
