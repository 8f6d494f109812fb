"""Positions against their closed forms."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omnimask.components.positions.alibi import Alibi, slopes
from omnimask.components.positions.learned import Learned
from omnimask.components.positions.rotary import Rotary
from omnimask.components.positions.sincos import SinCos
from omnimask.interfaces import Context, Draw, Stream, TokenSpec
from omnimask.network.layers import rotate
from omnimask.packed import to_tensors
from omnimask.streams import sequence
from omnimask.testing import make_sample

LINE = TokenSpec(vocabulary=5)
GRID = TokenSpec(width=(2,), axes=2, extent=(3, 4))


def stream(spec: TokenSpec, positions: list[list[float]] | None = None, length: int = 12) -> Stream:
    sample = make_sample({"m": spec}, {"m": length if positions is None else len(positions)}, Draw(0, 0, "p"))
    tokens = np.arange(len(sample))
    return to_tensors(sequence(sample, tokens, positions=None if positions is None else np.array(positions, np.float32)))


def context(spec: TokenSpec, **options: int) -> Context:
    return Context(specs={"m": spec}, modalities=("m",), **options)


def mae_table(rows: int, columns: int, width: int) -> np.ndarray:
    """MAE's fixed table as its paper's code computes it: half the width from columns, half from rows, sines before cosines."""

    def one_axis(size: int, place: np.ndarray) -> np.ndarray:
        omega = 1 / 10000 ** (np.arange(size // 2, dtype=np.float64) / (size / 2))
        angle = place.reshape(-1)[:, None] * omega[None]
        return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)

    across, down = np.meshgrid(np.arange(columns), np.arange(rows))
    return np.concatenate([one_axis(width // 2, across), one_axis(width // 2, down)], axis=1)


def test_sincos_on_a_grid_is_the_table_of_mae() -> None:
    """Angles in float32 up to 3 have an error of 2e-7; 1e-6 is five times that."""
    added = SinCos(context(GRID, width=32))(stream(GRID)).added
    assert added is not None
    assert np.abs(added.numpy() - mae_table(3, 4, 32)).max() < 1e-6


def test_sincos_of_a_line_is_that_of_the_transformer_for_any_real_position() -> None:
    places = [[0.0], [1.5], [7.0], [1000.0]]
    added = SinCos(context(LINE, width=9), temperature=100.0)(stream(LINE, places)).added
    assert added is not None
    angle = np.array(places) / 100 ** (np.arange(4) / 4)
    wanted = np.concatenate([np.sin(angle), np.cos(angle), np.zeros((4, 1))], axis=1)
    assert np.abs(added.numpy() - wanted).max() < 1e-4  # an angle of 1000 in float32 is known to 6e-5


def test_the_table_of_a_grid_and_the_formula_agree() -> None:
    unbounded = dataclasses.replace(GRID, extent=())
    places = stream(GRID)
    table, formula = SinCos(context(GRID, width=24)), SinCos(context(unbounded, width=24))
    assert table.table is not None
    assert formula.table is None
    left, right = table(places).added, formula(places).added
    assert left is not None
    assert right is not None
    assert torch.allclose(left, right, atol=1e-6)


@pytest.mark.parametrize("position", [SinCos, Learned])
@pytest.mark.parametrize("spec", [LINE, GRID])
def test_slots_without_a_position_get_nothing(position: type, spec: TokenSpec) -> None:
    places = stream(spec)
    half = dataclasses.replace(places, has_position=torch.arange(12) % 2 == 0)
    added = position(context(spec, width=16))(half).added
    assert bool((added[1::2] == 0).all())
    assert bool((added[0::2] != 0).any(1).all())


@pytest.mark.parametrize("place", [5.0, 7.0, 1.5])
def test_sincos_computes_places_off_a_bounded_grid(place: float) -> None:
    """A shortened input and its answer count slots, and the answer may be longer than the modality's extent."""
    bounded = TokenSpec(vocabulary=5, extent=(5,))
    added = SinCos(context(bounded, width=16))(stream(bounded, [[0.0], [place]])).added
    wanted = SinCos(context(LINE, width=16))(stream(LINE, [[0.0], [place]])).added
    assert added is not None
    assert wanted is not None
    assert torch.allclose(added, wanted, atol=1e-6)


def test_sincos_refuses_a_width_without_room() -> None:
    with pytest.raises(ValueError, match=r"width 3 is too small .* 2 axes; use at least 4"):
        SinCos(context(GRID, width=3))


@given(st.lists(st.integers(0, 40), min_size=2, max_size=6), st.integers(0, 500))
def test_rotary_scores_depend_on_differences_alone(places: list[int], shift: int) -> None:
    rotary = Rotary(context(LINE, head_width=8))
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(len(places), 2, 8, generator=generator, dtype=torch.float64) for _ in range(2))

    def scores(by: int) -> torch.Tensor:
        rotation = rotary(stream(LINE, [[float(place + by)] for place in places])).rotation
        assert rotation is not None
        return torch.einsum("qhd,khd->hqk", rotate(query, rotation), rotate(key, rotation))

    assert torch.allclose(scores(0), scores(shift), atol=2e-3)  # angles up to 540 in float32 are known to 3e-5


def test_rotary_turns_pairs_by_position_times_frequency() -> None:
    rotation = Rotary(context(LINE, head_width=4), temperature=100.0)(stream(LINE, [[0.0], [3.0]])).rotation
    assert rotation is not None
    turned = rotate(torch.tensor([1.0, 0.0, 0.0, 2.0]).repeat(2, 1, 1), rotation)[:, 0]
    assert turned[0].tolist() == [1, 0, 0, 2]
    wanted = [np.cos(3), -2 * np.sin(0.3), np.sin(3), 2 * np.cos(0.3)]
    assert np.abs(turned[1].numpy() - wanted).max() < 1e-6


def test_rotary_shares_pairs_over_axes_and_keeps_lengths() -> None:
    rotary = Rotary(context(GRID, head_width=10))
    rotation = rotary(stream(GRID)).rotation
    assert rotation is not None
    data = torch.randn(12, 3, 10)
    turned = rotate(data, rotation)
    assert torch.allclose(turned.norm(dim=2), data.norm(dim=2), rtol=1e-5)
    assert torch.equal(turned[:, :, [4, 9]], data[:, :, [4, 9]])  # the fifth pair belongs to no axis
    with pytest.raises(ValueError, match="even head width, got"):
        Rotary(context(LINE, head_width=5))


def test_learned_has_a_row_per_place_of_the_grid() -> None:
    learned = Learned(context(GRID, width=6))
    added = learned(stream(GRID)).added
    assert added is not None
    assert torch.equal(added, learned.tables["m"])


def test_learned_refuses_places_beyond_its_table() -> None:
    learned = Learned(context(LINE, width=6), max_length=4)
    assert learned(stream(LINE, [[3.0]])).added is not None
    with pytest.raises(ValueError, match=r"'m' reach \[4\].* must be less than \[4\]; raise max_length"):
        learned(stream(LINE, [[0.0], [4.0]]))
    with pytest.raises(ValueError, match="raise max_length"):
        learned(stream(LINE, [[-1.0]]))


def test_alibi_lowers_logits_by_the_distance() -> None:
    """Slopes of 8 heads are 1/2, 1/4 ... 1/256; of 3 heads those of 2, then the first of 4 (the published rule)."""
    assert slopes(8) == [2.0**-n for n in range(1, 9)]
    assert slopes(3) == [2.0**-4, 2.0**-8, 2.0**-2]
    places = dataclasses.replace(stream(LINE, [[0], [1], [5]]), has_position=torch.tensor([True, True, True]))
    bias = Alibi(context(LINE, num_heads=2))(places).bias
    assert bias is not None
    slots = torch.arange(3)[None]
    wanted = torch.tensor([[0, 1, 5], [1, 0, 4], [5, 4, 0]])
    assert torch.equal(bias(slots, slots), -torch.stack([wanted / 16, wanted / 256])[None])
    lost = Alibi(context(LINE, num_heads=2))(dataclasses.replace(places, has_position=torch.tensor([True, False, True]))).bias
    assert lost is not None
    assert not lost(slots, slots)[:, :, 1].any() and not lost(slots, slots)[:, :, :, 1].any()
