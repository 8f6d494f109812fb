"""Patches: bit-exact round trips, sizes, channels, clear errors."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from omnimask.interfaces import Context, Draw, Tokenizer, Tokens
from omnimask_image.tokenize.tokenizer import PatchTokenizer

draw = Draw(seed=0, epoch=0, key="a")


def tokenizer(**options: Any) -> PatchTokenizer:
    return PatchTokenizer(Context(), **options)


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3]), st.data())
def test_round_trip_is_bit_exact(h: int, w: int, p: int, q: int, channels: Any, data: st.DataObject) -> None:
    raw = noise(h * p, w * q, channels)
    patches = tokenizer(image_size=(h * p, w * q), patch_size=(p, q), channels=channels)
    tokens = patches(raw, draw)
    assert np.array_equal(patches.decode(tokens), raw)
    shuffled = np.array(data.draw(st.permutations(range(h * w))))
    assert np.array_equal(patches.decode(Tokens(tokens.content[shuffled], tokens.positions[shuffled])), raw)
    assert len(tokens) == patches.count(None) == patches.count(raw)
    assert tokens.content.shape[1:] == patches.spec.width
    assert patches.spec.extent == (h, w)


def test_tokens_are_patches_row_after_row() -> None:
    raw = np.arange(24, dtype=np.uint8).reshape(4, 6)
    tokens = tokenizer(image_size=(4, 6), patch_size=(2, 3), channels=1)(raw, draw)
    assert tokens.content.dtype == np.uint8
    assert tokens.content[:, :, :, 0].tolist() == [
        [[0, 1, 2], [6, 7, 8]],
        [[3, 4, 5], [9, 10, 11]],
        [[12, 13, 14], [18, 19, 20]],
        [[15, 16, 17], [21, 22, 23]],
    ]
    assert tokens.positions.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert tokens.positions.dtype == np.float32


def test_the_spec_is_in_units_of_stored_pixels() -> None:
    spec = tokenizer(image_size=(32, 64), patch_size=16).spec
    assert (spec.width, spec.axes, spec.extent, spec.dtype) == ((16, 16, 3), 2, (2, 4), "uint8")
    assert spec.mean == pytest.approx((123.675, 116.28, 103.53))
    assert spec.std == pytest.approx((58.395, 57.12, 57.375))
    grey = tokenizer(image_size=8, patch_size=2, channels=1).spec
    assert (grey.mean, grey.std) == ((127.5,), (127.5,))


def test_it_is_a_tokenizer_that_workers_can_receive_and_draws_change_nothing() -> None:
    patches = tokenizer(image_size=32, patch_size=8)
    again = pickle.loads(pickle.dumps(patches))  # noqa: S301
    assert isinstance(again, Tokenizer)
    raw = noise(50, 40, 3)
    first, second = patches(raw, draw), again(raw, Draw(seed=5, epoch=3, key="b"))
    assert np.array_equal(first.content, second.content)


def test_other_sizes_are_resized_and_the_centre_is_kept() -> None:
    raw = np.zeros((20, 60, 3), np.uint8)
    raw[:, 20:40] = 200  # the central square
    tokens = tokenizer(image_size=10, patch_size=5)(raw, draw)
    inner = tokenizer(image_size=10, patch_size=5).decode(tokens)[:, 1:-1]
    assert np.abs(inner.astype(int) - 200).max() <= 20  # bicubic rings next to the edge of the square


@pytest.mark.parametrize("shape", [(33, 32), (200, 35), (9, 500), (32, 32), (8, 8)])
def test_any_size_from_one_patch_on_gives_all_tokens(shape: tuple[int, int]) -> None:
    assert tokenizer(image_size=(32, 48), patch_size=8)(noise(*shape), draw).content.shape == (24, 8, 8, 3)


def test_channels_are_converted() -> None:
    grey, colour = noise(8, 8), noise(8, 8, 3)
    rgb = tokenizer(image_size=8, patch_size=4)
    assert np.array_equal(rgb.decode(rgb(grey, draw)), np.repeat(grey[:, :, None], 3, 2))
    single = tokenizer(image_size=8, patch_size=4, channels=1)
    luma = colour @ np.array([0.299, 0.587, 0.114])  # ITU-R 601
    assert np.abs(single.decode(single(colour, draw))[:, :, 0] - luma).max() <= 1
    assert np.array_equal(single.decode(rgb_to_grey := single(np.repeat(grey[:, :, None], 3, 2), draw))[:, :, 0], grey)
    assert rgb_to_grey.content.shape == (4, 4, 4, 1)


def test_decode_rounds_clips_and_shows_absent_patches_grey() -> None:
    patches = tokenizer(image_size=(2, 6), patch_size=2, channels=1)
    content = np.array([-3.0, 300.0], np.float32).reshape(2, 1, 1, 1).repeat(2, 1).repeat(2, 2)
    content[0, 0, 0] = 41.6
    image = patches.decode(Tokens(content, np.array([[0, 2], [0, 0]], np.float32)))
    assert image[:, :, 0].tolist() == [[255, 255, 127, 127, 42, 0], [255, 255, 127, 127, 0, 0]]


@pytest.mark.parametrize("shape", [(7, 100), (100, 7, 3)])
def test_an_image_smaller_than_a_patch_is_a_bad_sample(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"image is {shape[0]} x {shape[1]}, smaller than one patch of 8 x 8"):
        tokenizer(image_size=32, patch_size=8)(noise(*shape), draw)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (np.zeros((8, 8, 3), np.float16), "got float16; scale and convert it first"),
        (np.zeros((8, 8, 3)), "got float64"),
        (np.zeros((8, 8), np.uint16), "got uint16"),
        (np.zeros((8, 8, 4), np.uint8), r"got \(8, 8, 4\)"),
        (np.zeros((0, 8), np.uint8), r"got \(0, 8, 1\)"),
        (np.zeros(8, np.uint8), r"got \(8,\)"),
        (b"bytes", "got bytes"),
    ],
)
def test_other_values_are_refused(raw: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        tokenizer(image_size=8, patch_size=4)(raw, draw)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"image_size": 225, "patch_size": 16},
            "225 x 225 pixels cannot be divided into patches of 16 x 16; set image_size to 224 x 224,",
        ),
        ({"image_size": (32, 30), "patch_size": (8, 4)}, r"32 x 30 .* 8 x 4; set image_size to 32 x 32"),
        ({"image_size": 8, "patch_size": 16}, r"set image_size to 16 x 16"),
        ({"mean": (0.5,)}, "mean needs one value per channel: 3, got 1"),
        ({"std": (0.5, 0.5, 0.0)}, "std must be greater than 0"),
    ],
)
def test_impossible_options_are_refused_with_the_numbers(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        tokenizer(**options)


@pytest.mark.parametrize(("image_size", "patch_size", "tokens"), [(224, 16, 16), (28, 14, 4), ((48, 96), (16, 8), 12), (8, 2, 16)])
def test_smoke_options_work(image_size: int | tuple[int, int], patch_size: int | tuple[int, int], tokens: int) -> None:
    small = PatchTokenizer.smoke({"image_size": image_size, "patch_size": patch_size})
    assert tokenizer(**small).count(None) == tokens
    assert max(small["image_size"]) <= 32
