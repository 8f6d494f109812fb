"""Histograms of oriented gradients against scikit-image's, and what the target needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from omnimask.builder.build import build
from omnimask.interfaces import Context, Layout, MaskedBatch, Packed, Prediction, Run, Targets, TokenSpec
from omnimask.recipe import load_recipe
from omnimask_image.targets import Hog
from omnimask_image.tokenize.tokenizer import PatchTokenizer

feature = pytest.importorskip("skimage.feature")


def pictures(count: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    """Smooth random images: pure noise has no direction, and flat ones no gradient."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.random((count, channels, 5, 5), np.float32))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").permute(0, 2, 3, 1)
    return (smooth * 200 + torch.from_numpy(rng.random(smooth.shape, np.float32)) * 20).clamp(0, 255).numpy().astype(np.uint8)


def hog(size: tuple[int, int], patch: int, channels: int = 3, **options: Any) -> Hog:
    spec = PatchTokenizer(Context(), image_size=size, patch_size=patch, channels=channels).spec  # pyright: ignore[reportArgumentType]
    return Hog(Context(specs={"image": spec}, modalities=("image",)), **options)


def skimage_hog(image: np.ndarray, cell: int, bins: int) -> np.ndarray:
    """(rows of cells, columns of cells, channels, bins)."""
    parts = [
        feature.hog(image[..., c].astype(float), bins, (cell, cell), (1, 1), block_norm="L2", feature_vector=False)
        for c in range(image.shape[2])
    ]
    return np.stack([part[:, :, 0, 0] for part in parts], axis=2)


@pytest.mark.parametrize(("size", "cell", "bins"), [((32, 48), 8, 9), ((32, 48), 4, 9), ((24, 16), 8, 6)])
def test_features_are_those_of_scikit_image(size: tuple[int, int], cell: int, bins: int) -> None:
    """A direction exactly on the border of two bins (45 degrees between 20-degree bins is none) may fall either way, in float32
    against float64; such gradients are rare in these images, and the worst difference measured is 1.7e-7."""
    images = pictures(3, *size)
    mine = hog(size, 8, cell=cell, bins=bins).features(torch.from_numpy(images)).numpy()
    for image, found in zip(images, mine, strict=True):
        assert np.abs(found - skimage_hog(image, cell, bins)).max() < 1e-5


def test_answers_are_the_cells_of_the_asked_patch() -> None:
    size, target = (32, 48), hog((32, 48), 16)
    images = pictures(2, *size)
    tokenizer = PatchTokenizer(Context(), image_size=size, patch_size=16)
    content = np.concatenate([tokenizer(image, None).content for image in images])  # pyright: ignore[reportArgumentType]
    store = Packed(torch.from_numpy(content), Layout(np.array([6, 0, 6]), np.arange(3)))
    run = Run(MaskedBatch({"image": store}, {"image": 10}, {}, torch.zeros(3), ("a", "b", "c")), {})
    asked = torch.tensor([10 + 1, 10 + 6 + 5])
    table = Targets(torch.zeros(2, 1), asked, torch.full((2,), -1), torch.ones(2))
    stream: Any = None
    answers = target.answers(Prediction(torch.zeros(2, 1), torch.nn.Identity(), table, stream, stream, "image"), run).numpy()
    assert answers.shape == (2, target.num_outputs) == (2, 2 * 2 * 3 * 9)
    for answer, image, (row, column) in zip(answers, images, [(0, 1), (1, 2)], strict=True):
        cells = skimage_hog(image, 8, 9)[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert np.abs(answer - cells.reshape(-1)).max() < 1e-5


def test_a_ramp_votes_for_one_direction_and_a_flat_image_for_none() -> None:
    ramp = np.broadcast_to(np.arange(0, 64, 4, dtype=np.uint8)[None, :, None], (16, 16, 1))
    found = hog((16, 16), 8, channels=1).features(torch.from_numpy(np.stack([ramp, np.full_like(ramp, 7)])))
    assert found[0, ..., 0].allclose(torch.tensor(1.0)) and found[0, ..., 1:].abs().max() == 0
    assert found[1].abs().max() == 0


def test_cells_divide_patches_and_tokens_are_patches() -> None:
    with pytest.raises(ValueError, match="cells of 5 pixels must divide patches of 8 x 8; choose for example cell: 8"):
        hog((32, 32), 8, cell=5)
    with pytest.raises(ValueError, match="needs patches of images of one size;"):
        Hog(Context(specs={"image": TokenSpec(vocabulary=3)}, modalities=("image",)))


def test_images_that_lost_patches_are_refused() -> None:
    target = hog((16, 16), 8)
    store = Packed(torch.zeros(3, 8, 8, 3, dtype=torch.uint8), Layout(np.array([3]), np.arange(1)))
    prediction: Any = None
    with pytest.raises(ValueError, match="needs all 4 patches"):
        target.answers(prediction, Run(MaskedBatch({"image": store}, {"image": 0}, {}, torch.zeros(1), ("a",)), {}))


def test_the_recipe_predicts_108_numbers_per_patch() -> None:
    built = build(load_recipe("image/maskfeat", ["data={name: digits}", "encoder.depth=1", "encoder.width=24"]))
    predictor: Any = next(iter(built.model.each()[0].predictors.values()))
    assert predictor.heads["image"].out_features == 108
