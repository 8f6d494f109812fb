"""The numbers of the image recipes with a teacher, written down a second time with their sources.

data2vec 2.0: the reference's base_images_only_task.yaml (16 devices with 16 images; 2 + 10 blocks). I-JEPA: the reference's
in1k_vith14_ep300.yaml, and its vision_transformer.py (ViT-H; the predictor has the encoder's heads).
"""

from __future__ import annotations

from typing import Any

import pytest

from omnimask.component import Component
from omnimask.interfaces.schedules import ValueSchedule
from omnimask.recipe import Recipe, load_recipe

EPOCH = 625
"""Steps of 2,048 images in an epoch of ImageNet-1k, the last ones left out."""


def recipe_of(name: str) -> Recipe:
    return load_recipe(f"image/{name}", ["data.path=."])


def holds(component: Component[Any] | None, name: str, **expected: Any) -> bool:
    assert component is not None
    return component.name == name and component.options.items() >= expected.items()


def decay_of(recipe: Recipe) -> ValueSchedule:
    teacher = recipe.encoders["teacher"].component
    assert holds(teacher, "average", follows="main")
    return teacher.options["decay"]


@pytest.mark.parametrize("name", ["data2vec2", "ijepa"])
def test_the_teacher_sees_everything(name: str) -> None:
    recipe = recipe_of(name)
    whole = recipe.views["whole"]
    assert holds(whole.corruptor, "keep") and all(holds(masker, "none") for masker in whole.maskers.values())
    (teacher,) = recipe.passes
    assert (teacher.view, teacher.encoder, teacher.grad, teacher.predictors) == ("whole", "teacher", False, ())


def test_data2vec() -> None:
    recipe = recipe_of("data2vec2")
    image, train, decay = recipe.modalities["image"], recipe.train, decay_of(recipe)
    assert holds(image.tokenizer, "image.patch", image_size=224, patch_size=16)
    assert holds(image.masker, "block", ratio=0.8, size=3, inverse=True) and holds(image.corruptor, "drop")
    assert recipe.views["main"].repeat == 16
    assert holds(recipe.encoder, "bert", width=768, depth=2 + 10, heads=12, norm_eps=1e-6, mlp_width=None)
    assert recipe.encoder.options["position"].name == "sincos"
    assert (decay.start, decay.end, round(decay.until * train.steps)) == (0.9998, 0.99999, pytest.approx(100_000, abs=2))
    (predictor,) = recipe.predictors
    assert holds(predictor.component, "conv_decoder", width=768, depth=6, kernel=3, groups=16, noise=0.01)
    target = predictor.component.options["target"]
    assert holds(target, "features", last=10, mlp=True, norm="instance", final_norm="layer", loss="mse", reduction="root")
    assert (train.steps, train.batch_tokens, train.clip) == (375_300, 16 * 16 * 196, 4.0)
    assert holds(train.optimizer, "adamw", lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05)
    assert holds(train.schedule, "cosine", warmup=50_040, minimum=0.0)


def test_ijepa() -> None:
    recipe = recipe_of("ijepa")
    image, train, decay = recipe.modalities["image"], recipe.train, decay_of(recipe)
    assert holds(image.tokenizer, "image.patch", image_size=224, patch_size=14)
    blocks = {"num_targets": 4, "scale": (0.15, 0.2), "aspect": (0.75, 1.5), "context_scale": (0.85, 1.0)}
    assert holds(image.masker, "multi_block", **blocks) and holds(image.corruptor, "drop")
    (crop,) = image.augment
    assert holds(crop, "image.random_resized_crop", size=224, scale=(0.3, 1.0))
    assert holds(recipe.encoder, "transformer", width=1280, depth=32, heads=16, mlp_ratio=4.0, norm_eps=1e-6, summary=0)
    assert (decay.schedule, decay.start, decay.end, decay.until) == ("linear", 0.996, 1.0, 1.0)
    (predictor,) = recipe.predictors
    assert holds(predictor.component, "decoder", width=384, depth=12, heads=16, apart=True)
    target = predictor.component.options["target"]
    assert holds(target, "features", last=None, norm="layer", loss="smooth_l1", beta=1.0, reduction="mean")
    assert recipe.backbone == "teacher"
    assert (train.steps, train.batch_tokens, train.clip) == (300 * EPOCH, 2048 * 256, None)
    assert holds(train.optimizer, "adamw", lr=1e-3, betas=(0.9, 0.999), weight_decay=0.04)
    assert holds(train.schedule, "cosine", warmup=40 * EPOCH, minimum=1e-6 / 1e-3)
