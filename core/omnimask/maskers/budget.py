"""How many tokens a ratio means."""

from __future__ import annotations

from omnimask.interfaces import Draw


def num_hidden(length: int, ratio: float, draw: Draw) -> int:
    """``ratio * length``, rounded up or down at random so that its expectation is exact for any length.

    Where the product is an integer nothing is drawn: 0.75 of 196 tokens is 147 in every sample.
    """
    exact = round(ratio * length, 9)
    whole = int(exact)
    return whole + bool(exact > whole and draw.uniform(1, "rounding")[0] < exact - whole)
