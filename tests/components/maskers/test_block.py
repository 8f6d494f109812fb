"""Blocks in exact number, their coverage, and what stays when the last one is too large."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnimask.components.maskers.block import BlockMasker
from omnimask.interfaces import Context, Draw, Tokens, TokenSpec
from omnimask.testing import make_tokens

DEVIATIONS = 5.0


def full_grid(*sizes: int) -> Tokens:
    spec = TokenSpec(width=(1,), axes=len(sizes), extent=sizes)
    return make_tokens(spec, int(np.prod(sizes)), Draw(0, 0, "grid"))


def block(ratio: float, **options: Any) -> BlockMasker:
    return BlockMasker(Context(), ratio=ratio, **options)


def mean_coverage(masker: BlockMasker, tokens: Tokens, draws: int) -> np.ndarray:
    """(L,) how often a token is hidden."""
    return np.mean([masker(tokens, Draw(0, 0, str(key))).is_target for key in range(draws)], axis=0)


@given(
    st.sampled_from([(14, 14), (1, 9), (40,), (4, 5, 6), (2, 2)]),
    st.floats(0.01, 1.0),
    st.integers(1, 8),
    st.integers(0, 4),
    st.booleans(),
    st.text(max_size=3),
)
def test_the_number_is_exact(sizes: tuple[int, ...], ratio: float, size: int, more: int, inverse: bool, key: str) -> None:
    tokens = full_grid(*sizes)
    masking = block(ratio, size=size, max_size=size + more, inverse=inverse)(tokens, Draw(0, 0, key))
    assert abs(int(masking.is_target.sum()) - ratio * len(tokens)) < 1
    assert np.array_equal(masking.is_visible, ~masking.is_target)


@given(st.sets(st.tuples(st.integers(-5, 12), st.integers(0, 9)), min_size=3, max_size=60), st.booleans())
def test_ragged_grids_are_exact_too(places: set[tuple[int, int]], inverse: bool) -> None:
    positions = np.array(sorted(places), np.float32)
    masking = block(0.5, size=3, inverse=inverse)(Tokens(np.zeros(len(positions)), positions), Draw(0, 0, "a"))
    assert abs(int(masking.is_target.sum()) - 0.5 * len(positions)) < 1


def test_what_is_covered_is_blocks() -> None:
    """Of a budget of four blocks of 3 x 3 that may give back tokens of one only, most tokens lie in full blocks of 3 x 3."""
    tokens = full_grid(20, 20)
    for inverse in (False, True):
        ratio = 0.91 if inverse else 0.09
        for key in range(20):
            masking = block(ratio, size=3, inverse=inverse)(tokens, Draw(0, 0, str(key)))
            covered = masking.is_visible if inverse else masking.is_target
            grid = np.pad(covered.reshape(20, 20), 2)  # blocks may reach beyond the grid
            windows = np.lib.stride_tricks.sliding_window_view(np.where(_outside(), True, grid), (3, 3)).all(axis=(2, 3))
            in_full = np.zeros_like(grid)
            for row, column in np.argwhere(windows).tolist():
                in_full[row : row + 3, column : column + 3] = True
            assert (covered & ~in_full[2:-2, 2:-2].ravel()).sum() < 9  # the last block's


def _outside() -> np.ndarray:
    return np.pad(np.zeros((20, 20), bool), 2, constant_values=True)


@pytest.mark.parametrize(
    "options",
    [
        {"ratio": 0.8, "size": 3, "inverse": True},
        {"ratio": 0.4, "size": 4, "max_size": 8, "aspect": (0.3, 3.3)},
        {"ratio": 0.5, "size": 6},
    ],
)
def test_coverage_is_flat_to_the_border(options: dict[str, Any]) -> None:
    """Every place within 2.5 % of the ratio (measured with 40,000 draws) and five standard errors of 4,000 draws."""
    draws, tokens, masker = 4000, full_grid(14, 14), block(**options)
    share = mean_coverage(masker, tokens, draws)
    ratio = options["ratio"]
    allowed = 0.025 * ratio + DEVIATIONS * np.sqrt(ratio * (1 - ratio) / draws)
    assert np.abs(share - ratio).max() < allowed
    assert share.mean() == pytest.approx(ratio, abs=0.5 / len(tokens))
    corners = share.reshape(14, 14)[[0, 0, -1, -1], [0, -1, 0, -1]].mean()
    assert abs(corners - ratio) < 0.025 * ratio + DEVIATIONS * np.sqrt(ratio * (1 - ratio) / draws / 4)


def test_a_budget_of_one_token_falls_as_documented() -> None:
    """On one axis: sum over the blocks that cover a place of 1 / places inside, divided by the number of blocks."""
    size, side, draws = 8, 3, 8000
    inside = {start: len(set(range(start, start + side)) & set(range(size))) for start in range(1 - side, size)}
    expected = np.array([sum(1 / inside[start] for start in range(i - side + 1, i + 1)) for i in range(size)]) / len(inside)
    tokens, masker = full_grid(size), block(1 / size, size=side)
    share = mean_coverage(masker, tokens, draws)
    assert expected[0] / expected[4] == pytest.approx(11 / 6)
    assert np.abs(share - expected).max() < DEVIATIONS * np.sqrt(0.25 / draws)


def test_no_order_of_the_tokens_is_preferred() -> None:
    """The last block, which is cut, loses tokens of its first and its last rows alike: 9 of 25 tokens of a block in the middle."""
    tokens, draws = full_grid(5, 5), 4000
    masker = block(9 / 25, size=20)  # every block covers a corner part of the grid, most of them all of it
    share = mean_coverage(masker, tokens, draws)
    rows = share.reshape(5, 5).mean(axis=1)
    assert abs(rows[0] - rows[-1]) < DEVIATIONS * np.sqrt(2 * 0.25 / draws)


def test_aspect_draws_long_blocks_and_keeps_their_size() -> None:
    tokens = full_grid(30, 30)
    seen = 0
    for key in range(200):
        masking = block(16 / 900, size=4, aspect=(4.0, 4.0))(tokens, Draw(0, 0, str(key)))
        rows, columns = (np.ptp(tokens.positions[masking.is_target, axis]) + 1 for axis in (0, 1))
        places = tokens.positions[masking.is_target]
        if places.min() > 0 and places.max() < 29:  # the border cuts the others, and a second block follows
            seen += 1
            assert (rows, columns, len(places)) == (8, 2, 16)
    assert seen > 50


def test_impossible_options_are_refused_with_their_numbers() -> None:
    flat = Context(specs={"a": TokenSpec(width=(1,), axes=1)}, modalities=("a",))
    cases: list[tuple[Context, dict[str, Any], str]] = [
        (Context(specs={"a": TokenSpec(axes=2)}, modalities=("a",)), {"size": 4, "max_size": 3}, "max_size 3 is below size 4"),
        (flat, {"size": (2, 2)}, "size has 2 numbers, but the tokens have 1 position axes;"),
        (flat, {"size": 2, "aspect": (0.5, 2.0)}, "the tokens have 1; remove it"),
        (flat, {"size": 2, "aspect": (2.0, 0.5)}, r"aspect must be \(minimum, maximum\), got \(2, 0\.5\)"),
    ]
    for context, options, message in cases:
        with pytest.raises(ValueError, match=message):
            BlockMasker(context, ratio=0.5, **options)


def test_tokens_scattered_over_a_huge_grid_are_refused() -> None:
    tokens = Tokens(np.zeros(3), np.array([[0, 0], [1000, 3], [4, 1000]], np.float32))
    with pytest.raises(ValueError, match="3 tokens are spread over a grid of 1001 x 1001 places"):
        block(0.5, size=3)(tokens, Draw(0, 0, "a"))
