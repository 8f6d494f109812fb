"""Places, sides and starts of blocks: exact, by trying every start once."""

from __future__ import annotations

import numpy as np
import pytest

from omnimask.components.maskers.grid_places import block_sides, grid_places, in_blocks, per_axis, starts_inside, starts_reaching
from omnimask.interfaces import Tokens


def coverage(starts: np.ndarray, side: int, size: int) -> np.ndarray:
    """How many of the blocks cover each place of one axis."""
    places = np.arange(size, dtype=np.int32)[:, None]
    return in_blocks(places, starts, np.full_like(starts, side)).sum(axis=1)


def evenly(count: int) -> np.ndarray:
    return ((np.arange(count) + 0.5) / count)[:, None]


@pytest.mark.parametrize(("size", "side"), [(14, 3), (14, 14), (5, 1), (3, 8)])
def test_blocks_that_reach_the_grid_cover_every_place_equally(size: int, side: int) -> None:
    count = size + side - 1
    starts = starts_reaching(evenly(count), np.array([size], np.int32), np.full((count, 1), side, np.int32))
    assert sorted(starts[:, 0].tolist()) == list(range(-side + 1, size))
    assert coverage(starts, side, size).tolist() == [side] * size


@pytest.mark.parametrize(("size", "side"), [(14, 3), (14, 14), (5, 1), (10, 6)])
def test_blocks_inside_the_grid_cover_as_documented(size: int, side: int) -> None:
    count = size - side + 1
    starts = starts_inside(evenly(count), np.array([size], np.int32), np.full((count, 1), side, np.int32))
    assert sorted(starts[:, 0].tolist()) == list(range(count))
    assert coverage(starts, side, size).tolist() == [min(i + 1, size - i, side, count) for i in range(size)]


def test_starts_stay_in_range_at_the_largest_uniform_number() -> None:
    box, sides = np.array([14], np.int32), np.array([[3]], np.int32)
    largest = np.array([[np.nextafter(1, 0)]])
    assert starts_inside(largest, box, sides).tolist() == [[11]]
    assert starts_reaching(largest, box, sides).tolist() == [[13]]


def test_places_count_from_the_lowest_corner() -> None:
    positions = np.array([[5, -2], [7, 3], [6, 0]], np.float32)
    places, box = grid_places(Tokens(np.zeros(3), positions))
    assert places.tolist() == [[0, 0], [2, 5], [1, 2]]
    assert box.tolist() == [3, 6]


def test_positions_between_places_are_refused() -> None:
    with pytest.raises(ValueError, match=r"integer positions, but a token is at \[1\.0, 0\.5\];"):
        grid_places(Tokens(np.zeros(2), np.array([[1, 2], [1, 0.5]], np.float32)))


def test_sides_keep_the_number_of_places_where_the_grid_is_narrow() -> None:
    box = np.array([64, 8], np.int32)
    assert block_sides(np.array([25.0]), box).tolist() == [[5, 5]]
    assert block_sides(np.array([102.0]), box).tolist() == [[13, 8]]  # not 10 x 8
    assert block_sides(np.array([100.0]), box, np.array([0.25])).tolist() == [[12, 8]]  # not 5 x 8
    assert block_sides(np.array([64.0]), np.array([2, 10, 10], np.int32)).tolist() == [[2, 6, 5]]
    assert block_sides(np.array([0.2]), box).tolist() == [[1, 1]]


def test_sides_have_the_aspect() -> None:
    assert block_sides(np.array([48.0, 48.0]), np.array([14, 14], np.int32), np.array([3.0, 1 / 3])).tolist() == [[12, 4], [4, 12]]


def test_options_per_axis() -> None:
    assert per_axis(3, 2, "size").tolist() == [3, 3]
    assert per_axis((1, 2), 2, "size").tolist() == [1, 2]
    with pytest.raises(ValueError, match="size has 2 numbers, but the tokens have 3 position axes;"):
        per_axis((1, 2), 3, "size")
