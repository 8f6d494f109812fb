"""The numbers of the shipped image recipes, written down a second time with their sources.

MAE: He et al. 2021, table 8, and the reference's PRETRAIN.md. CrossMAE: Fu, Lian et al. 2024, and the pretraining command in the
reference's README. SimMIM: Xie et al. 2021, and the reference's simmim_pretrain__vit_base__img224__800ep.yaml, main_simmim.py (the
rule of the learning rate) and data_simmim.py (the crop). MaskFeat: Wei et al. 2021, and the reference's configuration
in1k_VIT_B_MaskFeat_PT.yaml. MP3: the arrangement is that of Zhai et al. 2022 (no positions, keys from a subset of context patches,
a linear layer over 196 places); the subset's share, augmentation and optimization are MAE's. Selfie: patches of 32 pixels and the
choice among an image's own hidden patches are those of Trinh et al. 2019; encoder, shares, augmentation and optimization are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from omnimask.component import Component
from omnimask.recipe import Recipe, load_recipe, shipped_recipes

IMAGENET = 1_281_167
"""Training images of ImageNet-1k (ILSVRC 2012)."""
OURS = {"quickstart", "digits", "small", "modern", "native"}
"""Recipes that reproduce no publication."""
LATENT = {"data2vec2", "ijepa"}
"""Recipes with a teacher; their numbers are in test_latent_recipes.py."""


@dataclass(frozen=True)
class Published:
    """``lr`` is ``base_lr * batch / base_batch``; ``hidden`` and ``asked`` are shares of all patches."""

    batch: int
    epochs: int
    warmup_epochs: int
    base_lr: float
    base_batch: int
    betas: tuple[float, float]
    clip: float | None
    crop: tuple[float, float]
    hidden: float
    masker: dict[str, Any]
    target: dict[str, Any] | None
    schedule: dict[str, Any]
    asked: float | None = None
    drop_path: float = 0.0
    position: str = "sincos"
    decoder: tuple[str, int, int, int] | None = None
    corruptor: dict[str, Any] | None = None
    summary: int = 1
    patch_size: int = 16
    predictor: dict[str, Any] | None = None
    minimum_lr: float = 0.0


TABLE = {
    "mae": Published(
        batch=4096,
        epochs=800,
        warmup_epochs=40,
        base_lr=1.5e-4,
        base_batch=256,
        betas=(0.9, 0.95),
        clip=None,
        crop=(0.2, 1.0),
        hidden=0.75,
        asked=0.75,
        masker={"name": "random", "unit": 1},
        target={"name": "patch", "normalize": True, "eps": 1e-6, "loss": "mse"},
        schedule={"name": "cosine"},
        decoder=("decoder", 512, 8, 16),
    ),
    "crossmae": Published(
        batch=4096,  # 4 GPUs x 1,024
        epochs=800,
        warmup_epochs=40,
        base_lr=1.5e-4,
        base_batch=256,
        betas=(0.9, 0.95),
        clip=None,
        crop=(0.2, 1.0),
        hidden=0.75,
        asked=0.25,  # --kept_mask_ratio
        masker={"name": "random", "unit": 1},
        target={"name": "patch", "normalize": True, "eps": 1e-6, "loss": "mse"},
        schedule={"name": "cosine"},
        decoder=("cross_decoder", 512, 12, 16),
    ),
    "simmim": Published(
        batch=2048,  # 16 GPUs x 128
        epochs=800,
        warmup_epochs=10,
        base_lr=1e-4,
        base_batch=512,
        betas=(0.9, 0.999),
        clip=5.0,
        crop=(0.67, 1.0),
        hidden=0.6,
        masker={"name": "random", "unit": 2},  # 32 pixels
        target={"name": "patch", "normalize": False, "loss": "l1"},
        schedule={"name": "step", "milestones": (round(700 * IMAGENET / 2048),), "factor": 0.1},
        drop_path=0.1,
        position="learned",
    ),
    "maskfeat": Published(
        batch=2048,  # 8 GPUs x 256
        epochs=300,
        warmup_epochs=30,
        base_lr=2e-4,
        base_batch=256,
        betas=(0.9, 0.999),
        clip=0.02,
        crop=(0.5, 1.0),
        hidden=0.4,
        masker={"name": "block"},
        target={"name": "image.hog", "cell": 8, "bins": 9},
        schedule={"name": "cosine"},
        position="learned",
        minimum_lr=1e-6,
    ),
    "mp3": Published(
        batch=4096,
        epochs=800,
        warmup_epochs=40,
        base_lr=1.5e-4,
        base_batch=256,
        betas=(0.9, 0.95),
        clip=None,
        crop=(0.2, 1.0),
        hidden=1.0,
        masker={"name": "random", "unit": 1},
        corruptor={"name": "withhold_position", "seen": 0.25},
        target={"name": "position", "smoothing": 0.0},
        schedule={"name": "cosine"},
        position="none",
        summary=0,
    ),
    "selfie": Published(
        batch=4096,
        epochs=800,
        warmup_epochs=40,
        base_lr=1.5e-4,
        base_batch=256,
        betas=(0.9, 0.95),
        clip=None,
        crop=(0.2, 1.0),
        hidden=0.25,
        asked=0.25,
        masker={"name": "random", "unit": 1},
        target=None,
        schedule={"name": "cosine"},
        patch_size=32,
        predictor={"name": "pick", "pool": "summary", "layers": 2},
    ),
}


def holds(component: Component[Any] | None, expected: dict[str, Any]) -> bool:
    assert component is not None
    return {"name": component.name, **component.options}.items() >= expected.items()


@pytest.fixture(params=TABLE)
def pair(request: pytest.FixtureRequest) -> tuple[Recipe, Published]:
    return load_recipe(f"image/{request.param}", ["data.path=."]), TABLE[request.param]


def test_every_recipe_is_in_the_table_or_our_own() -> None:
    shipped = {name.removeprefix("image/") for name in shipped_recipes() if name.startswith("image/")}
    assert shipped == {*TABLE, *OURS, *LATENT}


def test_model(pair: tuple[Recipe, Published]) -> None:
    """ViT-B/16 at 224 pixels, with a class token, unless said otherwise (Dosovitskiy et al. 2020, table 1)."""
    recipe, table = pair
    image, encoder = recipe.modalities["image"], recipe.encoder.options
    assert holds(image.tokenizer, {"image_size": 224, "patch_size": table.patch_size})
    expected = {
        "width": 768,
        "depth": 12,
        "heads": 12,
        "mlp_ratio": 4.0,
        "summary": table.summary,
        "registers": 0,
        "norm": "layer",
        "mlp": "gelu",
    }
    assert encoder.items() >= {**expected, "qk_norm": False, "drop_path": table.drop_path, "norm_eps": 1e-6}.items()
    assert encoder["position"].name == table.position
    (predictor,) = recipe.predictors
    options = predictor.component.options
    if table.decoder is None:
        assert holds(predictor.component, table.predictor or {"name": "in_place"})
    else:
        assert (predictor.component.name, options["width"], options["depth"], options["heads"]) == table.decoder
        assert options["mlp_ratio"] == 4.0
    assert table.target is None or holds(options["target"], table.target)


def test_masking_and_views(pair: tuple[Recipe, Published]) -> None:
    recipe, table = pair
    image = recipe.modalities["image"]
    assert holds(image.masker, {**table.masker, "ratio": table.hidden})
    assert image.corruptor is not None
    if table.asked is None:
        assert holds(image.corruptor, table.corruptor or {"name": "mask_token"})
    else:
        assert image.corruptor.name == "drop"
        assert image.corruptor.options["ask"] * table.hidden == pytest.approx(table.asked)
    crop, flip = image.augment
    assert holds(crop, {"name": "image.random_resized_crop", "size": 224, "scale": table.crop, "ratio": (3 / 4, 4 / 3)})
    assert flip.name == "image.flip"


def test_optimisation(pair: tuple[Recipe, Published]) -> None:
    recipe, table = pair
    train = recipe.train
    assert train.batch_tokens == table.batch * (224 // table.patch_size) ** 2
    assert train.steps == round(table.epochs * IMAGENET / table.batch)
    lr = table.base_lr * table.batch / table.base_batch
    assert holds(train.optimizer, {"name": "adamw", "betas": table.betas, "weight_decay": 0.05, "eps": 1e-8})
    assert train.optimizer.options["lr"] == pytest.approx(lr)
    assert holds(train.schedule, {**table.schedule, "warmup": round(table.warmup_epochs * IMAGENET / table.batch)})
    assert lr * train.schedule.options.get("minimum", 0.0) == pytest.approx(table.minimum_lr)
    assert train.clip == table.clip


def test_crossmae_reads_all_layers() -> None:
    recipe = load_recipe("image/crossmae", ["data.path=."])
    assert holds(recipe.predictors[0].component, {"feature_maps": "all", "self_attention": False})


def test_modern_uses_every_option_of_the_encoder_on_the_numbers_of_mae() -> None:
    modern, mae = (load_recipe(f"image/{name}", ["data.path=."]) for name in ("modern", "mae"))
    assert modern.train == mae.train and modern.modalities == mae.modalities
    used = {
        "norm": "rms",
        "mlp": "swiglu",
        "qk_norm": True,
        "registers": 4,
        "drop_path": 0.1,
        "width": 768,
        "depth": 12,
        "heads": 12,
    }
    assert holds(modern.encoder, used) and modern.encoder.options["position"].name == "rotary"
