"""Colours change as torchvision's ColorJitter says, keyed by the draw."""

from __future__ import annotations

import colorsys
import pickle
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from omnimask.interfaces import Augment, Context, Draw
from omnimask_image.augment.color import Color

STRENGTHS = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}


def color(**options: Any) -> Color:
    return Color(Context(), **options)


def only(name: str, strength: float) -> Color:
    return color(**{**STRENGTHS, name: strength})


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def draws(number: int) -> list[Draw]:
    return [Draw(seed=0, epoch=0, key=str(n)) for n in range(number)]


def luma(pixels: NDArray[Any]) -> NDArray[np.float64]:
    """ITU-R 601, as Pillow's greyscale."""
    return pixels @ np.array([0.299, 0.587, 0.114])


@pytest.mark.parametrize("draw", draws(5))
def test_each_change_is_the_blend_of_its_definition(draw: Draw) -> None:
    raw = noise(9, 7, 3)
    blends = {
        "brightness": np.zeros_like(raw),
        "contrast": np.full(raw.shape, round(luma(raw).mean())),
        "saturation": np.repeat(luma(raw)[:, :, None], 3, 2),
    }
    for name, other in blends.items():
        change = only(name, 0.5)
        ((done, factor),) = change.changes(draw)
        assert done == name
        expected = (other + factor * (raw.astype(float) - other)).clip(0, 255)
        assert np.abs(change(raw, draw) - expected).max() <= 2  # Pillow rounds the other image, and cuts the result


@pytest.mark.parametrize("draw", draws(5))
def test_hue_turns_on_the_circle_and_leaves_greys(draw: Draw) -> None:
    change = only("hue", 0.5)
    ((_, turn),) = change.changes(draw)
    for colour in ((255, 0, 0), (20, 200, 90), (90, 40, 220)):
        h, s, v = colorsys.rgb_to_hsv(*(value / 255 for value in colour))
        expected = np.array(colorsys.hsv_to_rgb((h + turn) % 1, s, v)) * 255
        result = change(np.full((2, 2, 3), colour, np.uint8), draw)
        assert np.abs(result - expected).max() <= 12  # two 255ths of the circle; measured: 10.5
    grey = np.full((2, 2, 3), 77, np.uint8)
    assert np.array_equal(change(grey, draw), grey)


def test_factors_and_orders_are_spread_over_their_ranges() -> None:
    change = color(brightness=0.4, contrast=2.0, saturation=0.0, hue=0.1)
    drawn = [dict(change.changes(draw)) for draw in draws(1000)]
    brightness, contrast, hue = (np.array([d[name] for d in drawn]) for name in ("brightness", "contrast", "hue"))
    assert (0.6 <= brightness.min() < 0.61) and (1.39 < brightness.max() <= 1.4)
    assert (0 <= contrast.min() < 0.02) and (2.98 < contrast.max() <= 3)
    assert (-0.1 <= hue.min() < -0.099) and (0.099 < hue.max() <= 0.1)
    orders = [tuple(d) for d in drawn]
    assert len(set(orders)) == 6
    assert min(orders.count(order) for order in set(orders)) > 120  # 167 expected, standard deviation 12


def test_the_draw_alone_decides() -> None:
    augment, raw = color(), noise(12, 10, 3)
    assert isinstance(augment, Augment)
    again = pickle.loads(pickle.dumps(augment))  # noqa: S301
    results = [augment(raw, draw) for draw in draws(20)]
    assert all(np.array_equal(result, again(raw, draw)) for result, draw in zip(results, draws(20), strict=True))
    assert len({result.tobytes() for result in results}) == 20
    assert np.array_equal(raw, noise(12, 10, 3))


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1)])
def test_grey_images_stay_grey_and_change_in_brightness_and_contrast(shape: tuple[int, ...]) -> None:
    raw = noise(*shape)
    for draw in draws(10):
        result = color(brightness=0.4, contrast=0, saturation=0.9, hue=0.5)(raw, draw)
        factor = dict(color(brightness=0.4, contrast=0, saturation=0.9, hue=0.5).changes(draw))["brightness"]
        assert result.shape == (6, 5, 1)
        assert np.abs(result[:, :, 0] - (raw.reshape(6, 5) * factor).clip(0, 255)).max() <= 1
        assert np.array_equal(only("saturation", 0.9)(raw, draw)[:, :, 0], raw.reshape(6, 5))


def test_probability_is_the_share_of_visits_that_are_changed() -> None:
    raw = noise(4, 4, 3)
    changed = [not np.array_equal(color(probability=0.8)(raw, draw), raw) for draw in draws(500)]
    assert abs(np.mean(changed) - 0.8) < 0.06  # standard deviation 0.018
    assert np.array_equal(color(probability=0)(raw, draws(1)[0]), raw)
    assert np.array_equal(color(**STRENGTHS)(raw, draws(1)[0]), raw)
