"""The random masker on cells of several tokens."""

from __future__ import annotations

import numpy as np
import pytest

from omnimask.components.maskers.random import RandomMasker
from omnimask.interfaces import Context, Draw, Masker, Tokens, TokenSpec
from omnimask.testing import MaskerContract


def grid(*sizes: int) -> Tokens:
    positions = np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), axis=-1).reshape(-1, len(sizes)).astype(np.float32)
    return Tokens(np.zeros((len(positions), 1)), positions)


def test_cells_are_hidden_as_a_whole_and_in_exact_number() -> None:
    """14 x 14 patches in cells of 2 x 2, as SimMIM: 60 % of 49 cells are 29 or 30."""
    masker = RandomMasker(Context(), ratio=0.6, unit=2)
    counts = set()
    for key in range(40):
        masking = masker(grid(14, 14), Draw(0, 0, str(key)))
        cells = masking.is_target.reshape(7, 2, 7, 2).swapaxes(1, 2).reshape(49, 4)
        assert np.all(cells == cells[:, :1])
        counts.add(int(cells[:, 0].sum()))
        unit = masking.unit.reshape(7, 2, 7, 2).swapaxes(1, 2).reshape(49, 4)
        assert np.all(unit == np.where(cells, np.arange(49)[:, None], -1))
        assert np.array_equal(masking.is_visible, ~masking.is_target)
    assert counts == {29, 30}


def test_sizes_may_differ_by_axis_and_cells_at_the_edge_are_smaller() -> None:
    masking = RandomMasker(Context(), ratio=0.5, unit=(2, 3))(grid(4, 7), Draw(0, 0, "a"))
    hidden = masking.is_target.reshape(4, 7)
    assert sum(hidden[row, column] for row in (0, 2) for column in (0, 3, 6)) == 3
    for row in (0, 2):
        for columns in (slice(0, 3), slice(3, 6), slice(6, 7)):
            assert len(np.unique(hidden[row : row + 2, columns])) == 1


def test_a_unit_of_one_hides_what_it_always_hid() -> None:
    draw = Draw(0, 0, "a")
    masking = RandomMasker(Context(), ratio=0.5)(grid(4), draw)
    order = np.argsort(draw.uniform(4, "order"), kind="stable")
    assert set(np.flatnonzero(masking.is_target)) == set(order[:2])
    assert masking.unit is None


def test_as_many_sizes_as_axes() -> None:
    context = Context(specs={"x": TokenSpec(width=(1,), axes=2)}, modalities=("x",))
    with pytest.raises(ValueError, match=r"unit \[2, 2, 2\] has 3 sizes, but tokens of 'x' have 2 position axes"):
        RandomMasker(context, ratio=0.5, unit=(2, 2, 2))


class TestCells(MaskerContract):
    spec = TokenSpec(width=(4,), axes=2, extent=(8, 8))

    def masker(self) -> Masker:
        return RandomMasker(Context(), ratio=0.5, unit=2)
