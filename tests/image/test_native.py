"""Images at their own size: the grid keeps shape and bounds, sizes mix in one batch, counting reads headers only."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from omnimask.data.planner import Cursor, Place
from omnimask.interfaces import Context, CountsShape, Draw, ReadsShape, Reconstruction
from omnimask.recipe import Recipe, load_recipe
from omnimask.testing import RecipeContract
from omnimask_image.decode.pillow_decoder import PillowDecoder
from omnimask_image.show import ImageGrid
from omnimask_image.tokenize.native import NativeTokenizer

draw = Draw(seed=0, epoch=0, key="a")
SIZES = {"portrait": (90, 60), "landscape": (48, 100), "panorama": (32, 256), "square": (32, 32), "one patch": (8, 9)}


def tokenizer(**options: Any) -> NativeTokenizer:
    return NativeTokenizer(Context(), **options)


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


sides = st.one_of(st.integers(1, 300), st.integers(1, 8000))


@given(sides, sides, st.integers(1, 20), st.integers(1, 20), st.integers(1, 300), st.integers(1, 300))
def test_the_grid_keeps_the_bounds_and_the_shape(height: int, width: int, p: int, q: int, first: int, second: int) -> None:
    """One scale explains both sides within half a patch, and no larger one fits (or no smaller one, where it enlarges)."""
    assume(height >= p and width >= q)
    smallest, largest = sorted((first, second))
    native = tokenizer(patch_size=(p, q), max_tokens=largest, min_tokens=smallest)
    rows, columns = height / p, width / q
    try:
        h, w = native.grid(height, width)
    except ValueError as error:
        assert "cannot preserve its aspect ratio" in str(error)
        assert max(rows / columns, columns / rows) > 2 * largest - 1
        return
    assert 1 <= h * w <= largest
    low, high = max((h - 0.5) / rows, (w - 0.5) / columns), min((h + 0.5) / rows, (w + 0.5) / columns)
    assert low <= high + 1e-9  # the scales that round to this grid
    if low <= 1 <= high and smallest <= h * w:
        return  # its own size
    above = round_half_up(rows, high + 1e-9), round_half_up(columns, high + 1e-9)
    below = round_half_up(rows, low - 1e-9), round_half_up(columns, low - 1e-9)
    assert np.prod(above) > largest or (h * w >= smallest and np.prod(below) < smallest)


def round_half_up(side: float, scale: float) -> int:
    return max(1, int(np.floor(side * scale + 0.5)))


@pytest.mark.parametrize(
    ("size", "options", "grid"),
    [
        ((64, 48), {}, (4, 3)),
        ((224, 224), {}, (14, 14)),
        ((256, 256), {}, (16, 16)),
        ((512, 512), {}, (16, 16)),
        ((3000, 4000), {}, (14, 18)),
        ((200, 1600), {}, (5, 44)),  # from a scale of 0.44 on there would be 6 rows of 44
        ((30, 50), {}, (2, 3)),
        ((16, 8192), {}, (1, 256)),
        ((16, 16), {"min_tokens": 4}, (2, 2)),
        ((20, 40), {"min_tokens": 50}, (5, 10)),
        ((16, 16), {"min_tokens": 7, "max_tokens": 7}, (2, 2)),
    ],
)
def test_grids_by_hand(size: tuple[int, int], options: dict[str, Any], grid: tuple[int, int]) -> None:
    assert tokenizer(**options).grid(*size) == grid


def test_an_image_that_fits_is_used_as_it_is_and_others_are_resized_whole() -> None:
    native = tokenizer(patch_size=(4, 8), max_tokens=100)
    raw = noise(20, 48, 3)
    assert np.array_equal(native.decode(native(raw, draw)), raw)
    half = np.zeros((300, 200, 3), np.uint8)
    half[150:] = 200
    image = native.decode(native(half, draw))
    assert image.shape == (4 * 16, 8 * 5, 3)  # at a scale of 0.22, 75 x 25 patches would become 17 x 6
    assert (image[:30] < 20).all()  # bicubic rings beside the edge
    assert (image[-30:] > 180).all()


def test_positions_count_rows_and_columns() -> None:
    tokens = tokenizer(patch_size=2, channels=1)(noise(4, 6), draw)
    assert tokens.positions.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert tokens.content.shape == (6, 2, 2, 1)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [((7, 100), "7 x 100, smaller than one patch of 8 x 8"), ((8, 9000), "8 x 9000, but max_tokens 16 patches cannot preserve")],
)
def test_images_without_a_grid_are_bad_samples(shape: tuple[int, int], reason: str) -> None:
    native = tokenizer(patch_size=8, max_tokens=16)
    with pytest.raises(ValueError, match=reason):
        native(noise(*shape), draw)
    with pytest.raises(ValueError, match=reason):
        native.count(noise(*shape))


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ValueError, match="min_tokens 20 must be at most max_tokens 10"):
        tokenizer(min_tokens=20, max_tokens=10)
    with pytest.raises(ValueError, match="mean needs one value per channel: 1, got 3"):
        tokenizer(channels=1, mean=(0.5, 0.5, 0.5))


# ---- counting reads the header only


def encoded(pixels: NDArray[np.uint8], kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "ICO"])
def test_the_shape_is_that_of_the_decoded_image(kind: str, orientation: int | None) -> None:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    options = {"exif": exif} if orientation is not None and kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}
    data, decoder = encoded(noise(40, 24, 3), kind, **options), PillowDecoder(Context())
    assert decoder.shape(data) == decoder(data).shape


def test_a_header_is_enough() -> None:
    data = {kind: encoded(noise(200, 300, 3), kind) for kind in ("JPEG", "PNG", "WEBP")}
    decoder = PillowDecoder(Context())
    assert isinstance(decoder, ReadsShape) and isinstance(tokenizer(), CountsShape)
    for kind in ("JPEG", "PNG"):
        assert decoder.shape(data[kind][:2000]) == (200, 300, 3)
        with pytest.raises(ValueError, match="not a readable image"):
            decoder(data[kind][:2000])
    with pytest.raises(ValueError, match="not a readable image"):
        decoder.shape(b"no image")


# ---- a whole recipe on mixed sizes


def photos(folder: Path) -> Path:
    for number, (name, (height, width)) in enumerate(SIZES.items()):
        file = folder / f"{name}.png"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(height, width, 3, seed=number)).save(file)
    return folder


def mixed(folder: Path) -> Recipe:
    """The shipped recipe, small, on a folder with images of very different shapes."""
    smaller = [
        "modalities.image.tokenizer={name: image.native, patch_size: 8, max_tokens: 40}",
        "modalities.image.augment=[{name: image.random_crop, size: 72}, {name: image.color}, {name: image.flip}]",
        "encoder={name: transformer, width: 32, depth: 2, heads: 2, summary: 1, position: {name: rotary}}",
        "predictors=[{name: decoder, width: 32, depth: 1, heads: 2, target: {name: patch, normalize: true}}]",
        "data.validation=0",
        "train.steps=2",
        "train.batch_tokens=400",
        "train.schedule.warmup=1",
    ]
    return load_recipe("image/native", [f"data.path={photos(folder)}", *smaller])


class TestMixedSizes(RecipeContract):
    """Packed equals one by one, and no cut of a step changes its gradient, for a portrait, a landscape and a panorama."""

    overfit_factor = 0.95
    num_samples = 5

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = tmp_path / "photos"
        monkeypatch.setenv("OMNIMASK_CACHE", str(tmp_path / "cache"))

    def recipe(self) -> str:
        return "image/native"

    def loaded(self) -> Recipe:
        return mixed(self.path)

    def test_samples_differ_in_length_and_counts_are_known_before(self) -> None:
        built = self.built()
        by_key = {built.dataset.key(i): int(built.counts[i]) for i in range(len(built.dataset))}  # pyright: ignore[reportIndexIssue]
        expected = {f"{name}.png": tokenizer(patch_size=8, max_tokens=40).grid(*size) for name, size in SIZES.items()}
        assert by_key == {name: h * w for name, (h, w) in expected.items()}
        assert len(set(by_key.values())) >= 4
        validated = {s.draw.key: len(s) for s in (built.validation.sample(Place(0, 0, i, 0.0)) for i in range(len(built.dataset)))}
        assert validated == by_key

    def test_steps_hold_as_many_samples_as_fit(self) -> None:
        built = self.built()
        steps = list(built.loader(Cursor(), 0))
        assert len(steps) == 2
        for step in steps:
            assert not step.bad
            (batch,) = step.batches
            assert len(set(batch.store["image"].layout.lengths.tolist())) > 2
            assert torch.isfinite(built.model(batch).loss)

    def test_reconstructions_of_different_sizes_are_drawn(self, tmp_path: Path) -> None:
        native = tokenizer(patch_size=8, max_tokens=40)
        images = [native.decode(native(noise(*size, 3), draw)) for size in (SIZES["portrait"], SIZES["panorama"])]
        path = ImageGrid(Context())([Reconstruction("a", image, image, image) for image in images], tmp_path / "figure.png")
        with Image.open(path) as drawn:
            is_ink = (np.array(drawn.convert("RGB")) != 255).any(2)
        longer = 1.7 * 120
        expected = 3 * longer**2 * sum(min(i.shape[:2]) / max(i.shape[:2]) for i in images)
        assert is_ink.sum() == pytest.approx(expected, rel=0.06)  # letters too
