"""Augmentation: keyed by the draw, in bounds, distributed as its sources say."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from omnimask.interfaces import Augment, Context, Draw
from omnimask_image.augment.geometry import Flip, RandomCrop, RandomResizedCrop


def crop(**options: Any) -> RandomResizedCrop:
    return RandomResizedCrop(Context(), **{"size": 16, **options})


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def draws(number: int) -> list[Draw]:
    return [Draw(seed=0, epoch=0, key=str(n)) for n in range(number)]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 1000))
def test_crops_lie_inside_the_image(height: int, width: int, key: int) -> None:
    top, left, rows, columns = crop(scale=(0.05, 1.0)).box(height, width, Draw(0, 0, str(key)))
    assert 0 <= top < top + rows <= height
    assert 0 <= left < left + columns <= width


@pytest.mark.parametrize("shape", [(60, 90, 3), (33, 12, 1), (40, 40)])
def test_torch_resizes_the_same_part_as_pillow(shape: tuple[int, ...]) -> None:
    """Smooth pixels, whose neighbors beside the part hardly matter; rounding differs between both."""
    rows, columns = np.indices(shape[:2])
    smooth = np.rint(127 + 100 * np.sin(rows / 17) * np.cos(columns / 13)).astype(np.uint8)
    pixels = np.broadcast_to(smooth.reshape(*shape[:2], *(1,) * (len(shape) - 2)), shape)
    for draw in draws(20):
        ours, theirs = crop(resize="torch")(pixels, draw), crop()(pixels, draw)
        assert ours.shape == theirs.shape and ours.dtype == np.uint8 and ours.flags.c_contiguous
        inner = np.abs(ours.astype(int) - theirs)[2:-2, 2:-2]
        assert inner.max() <= 2 and np.abs(ours.astype(int) - theirs).max() <= 12
        assert np.array_equal(ours, crop(resize="torch")(pixels, draw))


def test_torch_resizes_like_pillow_after_a_crop() -> None:
    for draw in draws(20):
        pixels = noise(120, 80, 3)
        top, left, rows, columns = crop().box(120, 80, draw)
        part = np.ascontiguousarray(pixels[top : top + rows, left : left + columns])
        expected = np.asarray(Image.fromarray(part).resize((16, 16), Image.Resampling.BICUBIC)).astype(int)
        difference = np.abs(crop(resize="torch")(pixels, draw) - expected)
        assert difference.max() <= 2 and difference.mean() < 0.1


def test_areas_and_ratios_are_spread_over_their_ranges() -> None:
    boxes = np.array([crop(scale=(0.2, 0.5)).box(400, 400, draw) for draw in draws(2000)])
    area = boxes[:, 2] * boxes[:, 3] / 400**2
    ratio = np.log(boxes[:, 3] / boxes[:, 2])
    assert 0.195 < area.min() < 0.21
    assert 0.49 < area.max() < 0.505
    assert abs(area.mean() - 0.35) < 0.01  # uniform; the mean's standard deviation is 0.0019
    assert abs(ratio.mean()) < 0.02  # logarithmically uniform in +-0.288; 0.0037
    assert ratio.max() < math.log(4 / 3) + 0.02
    assert abs((boxes[:, 0] / (400 - boxes[:, 2])).mean() - 0.5) < 0.03  # 0.0065


def test_an_image_of_extreme_shape_gets_its_centre() -> None:
    assert crop().box(10, 1000, Draw(0, 0, "a")) == (0, 493, 10, 13)
    assert crop().box(1000, 10, Draw(0, 0, "a")) == (493, 0, 13, 10)


@pytest.mark.parametrize("shape", [(40, 30), (40, 30, 1), (40, 30, 3), (3, 5, 3), (1, 1, 3)])
def test_the_result_has_the_size_asked_for(shape: tuple[int, ...]) -> None:
    result = crop(size=(16, 24))(noise(*shape), Draw(0, 0, "a"))
    assert result.shape == (16, 24, 3 if shape[2:] == (3,) else 1)
    assert result.dtype == np.uint8


def test_the_whole_image_at_its_own_size_stays_untouched() -> None:
    raw = noise(16, 16, 3)
    assert np.array_equal(crop(scale=(1.0, 1.0), ratio=(1.0, 1.0))(raw, Draw(0, 0, "a")), raw)


@pytest.mark.parametrize("augment", [crop(), RandomCrop(Context(), size=(20, 25)), Flip(Context())])
def test_the_draw_alone_decides(augment: Augment) -> None:
    assert isinstance(augment, Augment)
    raw = noise(40, 30, 3)
    again = pickle.loads(pickle.dumps(augment))  # noqa: S301
    results = [augment(raw, draw) for draw in draws(20)]
    assert all(np.array_equal(result, again(raw, draw)) for result, draw in zip(results, draws(20), strict=True))
    assert any(not np.array_equal(results[0], result) for result in results)
    assert np.array_equal(raw, noise(40, 30, 3))


def test_flips_mirror_left_to_right_with_their_probability() -> None:
    raw = noise(6, 5, 3)
    assert np.array_equal(Flip(Context(), probability=1)(raw, Draw(0, 0, "a")), raw[:, ::-1])
    assert np.array_equal(Flip(Context(), probability=0)(raw, Draw(0, 0, "a")), raw)
    flipped = [not np.array_equal(Flip(Context(), probability=0.3)(raw, draw), raw) for draw in draws(1000)]
    assert abs(np.mean(flipped) - 0.3) < 0.045  # three standard deviations


@pytest.mark.parametrize("name", ["scale", "ratio"])
def test_ranges_the_wrong_way_round_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be \(minimum, maximum\), got \(0.9, 0.5\)"):
        crop(**{name: (0.9, 0.5)})


@pytest.mark.parametrize(
    ("shape", "expected"), [((40, 30, 3), (16, 24, 3)), ((10, 90), (10, 24, 1)), ((90, 10, 1), (16, 10, 1)), ((5, 6, 3), (5, 6, 3))]
)
def test_windows_have_at_most_their_size_and_keep_pixels(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    window, raw = RandomCrop(Context(), size=(16, 24)), noise(*shape)
    windows = np.lib.stride_tricks.sliding_window_view(raw.reshape(*shape[:2], -1), expected)[:, :, 0]
    for draw in draws(5):
        result = window(raw, draw)
        assert result.shape == expected
        assert (windows == result).all((2, 3, 4)).any()


def test_windows_lie_anywhere_in_the_image() -> None:
    places = np.arange(100, dtype=np.uint8).reshape(10, 10)
    corners = {int(RandomCrop(Context(), size=8)(places, draw)[0, 0, 0]) for draw in draws(200)}
    assert corners == {row * 10 + column for row in range(3) for column in range(3)}
