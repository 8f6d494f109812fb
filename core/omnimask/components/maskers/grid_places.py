"""Tokens on an n-dimensional grid, and blocks of grid places. L tokens, A position axes, K blocks."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.interfaces import Context, TokenColumns, Tokens

PerAxis: TypeAlias = Annotated[int, Field(gt=0)] | tuple[Annotated[int, Field(gt=0)], ...]
"""A number of tokens for all axes, or one for each."""


def grid_places(tokens: Tokens) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return (L, A) places counted from the lowest corner of the sample's bounding box, and (A,) the box's sides in tokens.

    Raises:
        ValueError: a position is not an integer.
    """
    whole = _whole(np.asarray(tokens.positions))
    if not len(tokens):
        return np.zeros(whole.shape, np.int32), np.zeros(whole.shape[1], np.int32)
    lowest = whole.min(axis=0)
    places = (whole - lowest).astype(np.int32)
    return places, places.max(axis=0) + 1


def _whole(positions: NDArray[np.float32]) -> NDArray[np.float32]:
    whole = np.rint(positions)
    if not np.array_equal(whole, positions):
        bad = positions[(whole != positions).any(axis=1)][0]
        raise ValueError(f"blocks and grids need integer positions, but a token is at {bad.tolist()}; use the masker random")
    return whole


def lowest_corners(tokens: TokenColumns) -> NDArray[np.float32]:
    """Return (P, A) the lowest corner of the bounding box of each token's sample.

    Raises:
        ValueError: a position is not an integer.
    """
    whole = _whole(np.asarray(tokens.positions))
    held = np.flatnonzero(tokens.lengths)
    if not len(held):
        return whole
    return np.repeat(np.minimum.reduceat(whole, tokens.offsets[held], axis=0), tokens.lengths[held], axis=0)


def per_axis(value: int | tuple[int, ...], axes: int, option: str) -> NDArray[np.int32]:
    """Return (A,) values of an option given once for all axes, or once for each.

    Raises:
        ValueError: it has another number of axes than the tokens.
    """
    if isinstance(value, int):
        return np.full(axes, value, np.int32)
    if len(value) != axes:
        raise ValueError(
            f"{option} has {len(value)} numbers, but the tokens have {axes} position axes; give one per axis, or one for all"
        )
    return np.array(value, np.int32)


def axes_of(context: Context) -> list[int]:
    """Return the numbers of position axes of a component's modalities, if known from the context."""
    return [context.specs[name].axes for name in context.modalities]


def check_range(option: str, low: float, high: float) -> None:
    """Raise ``ValueError`` unless ``low`` is at most ``high``."""
    if low > high:
        raise ValueError(f"{option} must be (minimum, maximum), got ({low:g}, {high:g})")


def block_sides(
    tokens: NDArray[np.float64], box: NDArray[np.int32], aspect: NDArray[np.float64] | None = None
) -> NDArray[np.int32]:
    """Return (K, A) sides of blocks of about ``tokens`` (K,) places, limited to the sides ``box`` (A,) of the grid.

    Sides are as equal as the box allows or, on two axes, in the ratio ``aspect`` (K,) of the first to the second. A side that
    exceeds the box is cut and the others are lengthened, which keeps the number of places, up to rounding.
    """
    sides = np.ones((len(tokens), len(box)))
    if aspect is not None:
        # The second side follows from the first, and the first again from the second, which may have been cut.
        for axis, wanted in ((0, np.sqrt(tokens * aspect)), (1, None), (0, None)):
            side = tokens / sides[:, 1 - axis] if wanted is None else wanted
            sides[:, axis] = np.clip(np.rint(side), 1, box[axis])
        return sides.astype(np.int32)
    rest = np.array(tokens, np.float64)
    # The shortest axes first: places beyond their sides are spread over the longer ones.
    for rank, axis in enumerate(np.argsort(box, kind="stable").tolist()):
        sides[:, axis] = np.clip(np.rint(rest ** (1 / (len(box) - rank))), 1, box[axis])
        rest = rest / sides[:, axis]
    return sides.astype(np.int32)


def starts_inside(uniform: NDArray[np.float64], box: NDArray[np.int32], sides: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return (K, A) starts of blocks inside the box, from (K, A) numbers in [0, 1); ``sides`` (K, A) are at most ``box`` (A,)."""
    return np.floor(uniform * (box - sides + 1)).astype(np.int32)


def starts_reaching(uniform: NDArray[np.float64], box: NDArray[np.int32], sides: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return (K, A) starts of blocks with at least one place inside the box. Every place is covered equally often."""
    return np.floor(uniform * (box + sides - 1)).astype(np.int32) - (sides - 1)


def in_blocks(places: NDArray[np.int32], starts: NDArray[np.int32], sides: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return (L, K) whether places (L, A) lie in the blocks at ``starts`` (K, A) with ``sides`` (K, A)."""
    inside = np.ones((len(places), len(starts)), bool)
    for axis in range(places.shape[1]):
        offset = places[:, axis, None] - starts[:, axis]
        inside &= offset.view(np.uint32) < sides[:, axis].astype(np.uint32)  # one comparison: below 0 becomes huge
    return inside
