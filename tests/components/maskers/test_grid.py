"""Every k-th place stays visible."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnimask.components.maskers.grid import GridMasker
from omnimask.interfaces import Context, Draw, Tokens, TokenSpec
from omnimask.testing import make_tokens


def full_grid(*sizes: int) -> Tokens:
    return make_tokens(TokenSpec(width=(1,), axes=len(sizes), extent=sizes), int(np.prod(sizes)), Draw(0, 0, "grid"))


def test_a_fixed_phase_keeps_the_same_places() -> None:
    masking = GridMasker(Context(), stride=(2, 3), phase=(1, 0))(full_grid(4, 7), Draw(0, 0, "a"))
    assert np.argwhere(masking.is_visible.reshape(4, 7)).tolist() == [[1, 0], [1, 3], [1, 6], [3, 0], [3, 3], [3, 6]]
    assert masking.level == pytest.approx(5 / 6)


@given(st.integers(2, 9), st.integers(2, 9), st.integers(1, 4), st.integers(1, 4), st.text(max_size=3))
def test_a_drawn_phase_keeps_one_place_of_every_cell(rows: int, columns: int, down: int, across: int, key: str) -> None:
    is_visible = GridMasker(Context(), stride=(down, across))(full_grid(rows, columns), Draw(0, 0, key)).is_visible
    for row in range(rows - down + 1):
        for column in range(columns - across + 1):
            assert is_visible.reshape(rows, columns)[row : row + down, column : column + across].sum() == 1


def test_every_place_is_visible_equally_often() -> None:
    draws, tokens = 4000, full_grid(5, 3)
    share = sum(GridMasker(Context())(tokens, Draw(0, 0, str(key))).is_visible.astype(int) for key in range(draws)) / draws
    assert np.abs(share - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / draws)


def test_places_count_from_the_sample_s_own_corner() -> None:
    positions = np.array([[7], [8], [9], [11]], np.float32)
    masking = GridMasker(Context(), phase=0)(Tokens(np.zeros(4), positions), Draw(0, 0, "a"))
    assert masking.is_visible.tolist() == [True, False, True, True]


def test_a_phase_outside_its_cell_is_refused() -> None:
    context = Context(specs={"a": TokenSpec(axes=2)}, modalities=("a",))
    with pytest.raises(ValueError, match=r"phase \(0, 2\) must be less than stride 2"):
        GridMasker(context, phase=(0, 2))
