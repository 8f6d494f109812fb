"""Token budgets: the number of tokens for a ratio, and the selection of tokens or units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import Draw


def num_hidden(length: int, ratio: float, draw: Draw) -> int:
    """Return ``ratio * length``, rounded up or down at random so that its expectation is exact for any length.

    An integer product draws nothing: 0.75 of 196 tokens is 147 in every sample.
    """
    # Removes errors of floating point: 0.07 * 100 is 7.000000000000001.
    exact = round(ratio * length, 9)
    whole = int(exact)
    return whole + bool(exact > whole and draw.uniform(1, "rounding")[0] < exact - whole)


def pick(count: int, number: int, draw: Draw) -> NDArray[np.bool_]:
    """Return (count,) a uniformly drawn subset of ``number`` elements, or of all if there are fewer."""
    is_picked = np.zeros(count, bool)
    is_picked[np.argsort(draw.uniform(count, "order"), kind="stable")[:number]] = True
    return is_picked


def pick_units(size: NDArray[np.int64], budget: float, draw: Draw) -> NDArray[np.bool_]:
    """Return (U,) units picked in random order up to ``budget`` tokens; ``size`` (U,) is the number of tokens of each.

    The unit that would exceed the budget is picked with the probability that makes the expected number of tokens exact. If all
    units together hold less, all are picked.
    """
    order = np.argsort(draw.uniform(len(size), "order"), kind="stable")
    total = np.cumsum(size[order])
    taken = int(np.searchsorted(total, budget + 1e-9, side="right"))
    is_picked = np.zeros(len(size), bool)
    is_picked[order[:taken]] = True
    if taken < len(order):
        # The budget left over, as a share of the next unit's size, is the probability of this unit.
        missing = budget - (int(total[taken - 1]) if taken else 0)
        is_picked[order[taken]] = draw.uniform(1, "last")[0] < missing / size[order[taken]]
    return is_picked
