"""The image plugin keeps the contracts."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from omnimask.interfaces import Context, Dataset, Decoder, Tokenizer
from omnimask.testing import DatasetContract, DecoderContract, PluginContract, RecipeContract, TokenizerContract
from omnimask_datasets.chronicle.dataset import Chronicle
from omnimask_datasets.digits import Digits
from omnimask_image.data.emoji import Emoji
from omnimask_image.data.files import ImageFolder
from omnimask_image.decode.pillow_decoder import PillowDecoder
from omnimask_image.tokenize.native import NativeTokenizer
from omnimask_image.tokenize.tokenizer import PatchTokenizer


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def encoded(pixels: np.ndarray, form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


class TestPatches(TokenizerContract):
    def tokenizer(self) -> Tokenizer:
        return PatchTokenizer(Context(), image_size=(16, 24), patch_size=(4, 8))

    def raw_values(self) -> Sequence[Any]:
        return [noise(16, 24, 3), np.zeros((16, 24, 3), np.uint8)]

    def bad_values(self) -> Mapping[str, Any]:
        return {
            "text": "picture",
            "nothing": None,
            "bytes": b"picture",
            "one axis": noise(16),
            "no pixels": noise(0, 24, 3),
            "five channels": noise(16, 24, 5),
            "floats": np.zeros((16, 24, 3)),
            "not a number": np.full((16, 24, 3), np.nan, np.float32),
            "smaller than a patch": noise(1, 24, 3),
            "a list of words": ["a", "b"],
        }


class TestGreyPatches(TestPatches):
    def tokenizer(self) -> Tokenizer:
        return PatchTokenizer(Context(), image_size=8, patch_size=2, channels=1)

    def raw_values(self) -> Sequence[Any]:
        return [noise(8, 8), noise(8, 8, 1)]


class TestResizedPatches(TestPatches):
    tolerance = None

    def raw_values(self) -> Sequence[Any]:
        return [noise(4, 8), noise(100, 31, 3), noise(16, 24)]


class TestNative(TokenizerContract):
    def tokenizer(self) -> Tokenizer:
        return NativeTokenizer(Context(), patch_size=(4, 8), max_tokens=40)

    def raw_values(self) -> Sequence[Any]:
        return [noise(16, 24, 3), noise(4, 8, 3), noise(4, 160, 3), noise(80, 8, 3)]

    def bad_values(self) -> Mapping[str, Any]:
        return {**TestPatches().bad_values(), "too long": noise(4, 1000, 3)}


class TestResizedNative(TestNative):
    tolerance = None

    def raw_values(self) -> Sequence[Any]:
        return [noise(5, 9), noise(100, 31, 3), noise(16, 500)]


class TestPillow(DecoderContract):
    def decoder(self) -> Decoder:
        return PillowDecoder(Context())

    def good_files(self) -> Mapping[str, bytes]:
        return {form: encoded(noise(12, 9, 3), form) for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")}


class TestFolder(DatasetContract):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.path = tmp_path / "pictures"
        for number in range(4):
            file = self.path / f"class-{number % 2}" / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encoded(noise(8, 8, 3, seed=number), "PNG"))

    def dataset(self) -> Dataset:
        return ImageFolder(Context(), path=self.path)

    def changed(self) -> Dataset:
        (self.path / "class-0" / "another.png").write_bytes(b"1")
        return self.dataset()

    def damaged(self) -> tuple[Dataset, Sequence[int]]:
        dataset = self.dataset()
        (self.path / dataset.key(1)).unlink() if (self.path / dataset.key(1)).exists() else next(self.path.rglob("*.png")).unlink()
        gone = [index for index in range(len(dataset)) if not _readable(dataset, index)]
        return dataset, gone


def _readable(dataset: Dataset, index: int) -> bool:
    try:
        dataset[index]
    except OSError:
        return False
    return True


class TestDigits(DatasetContract):
    def dataset(self) -> Dataset:
        return Digits(Context())


class TestEmoji(DatasetContract):
    def dataset(self) -> Dataset:
        return Emoji(Context())


class TestChronicle(DatasetContract):
    def dataset(self) -> Dataset:
        return Chronicle(Context())


class TestMae(RecipeContract):
    overfit_factor = 0.9

    def recipe(self) -> str:
        return "image/mae"


class TestQuickStart(RecipeContract):
    overfit_factor = 0.9

    def recipe(self) -> str:
        return "image"


class TestDigitsRecipe(RecipeContract):
    overfit_factor = 0.7

    def recipe(self) -> str:
        return "image/digits"


class TestImagePlugin(PluginContract):
    def plugin(self) -> str:
        return "image"


class TestDatasetsPlugin(PluginContract):
    def plugin(self) -> str:
        return "datasets"


class TestCrossMae(RecipeContract):
    overfit_factor = 0.9

    def recipe(self) -> str:
        return "image/crossmae"


class TestSimMim(RecipeContract):
    """Stochastic depth is left out: whatever is drawn per batch changes when a batch is split."""

    overfit_factor = 0.9
    overrides = ("encoder.drop_path=0",)

    def recipe(self) -> str:
        return "image/simmim"


class TestMaskFeat(RecipeContract):
    overfit_factor = 0.9

    def recipe(self) -> str:
        return "image/maskfeat"


class TestMp3(RecipeContract):
    def recipe(self) -> str:
        return "image/mp3"


class TestSelfie(RecipeContract):
    def recipe(self) -> str:
        return "image/selfie"


class TestNativeRecipe(RecipeContract):
    overfit_factor = 0.9

    def recipe(self) -> str:
        return "image/native"


class TestModern(RecipeContract):
    """Without stochastic depth, as above."""

    overfit_factor = 0.9
    overrides = ("encoder.drop_path=0",)

    def recipe(self) -> str:
        return "image/modern"
