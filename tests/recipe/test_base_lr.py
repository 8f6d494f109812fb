"""The learning rate that follows from the batch."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnimask.errors import UserError
from omnimask.recipe import Recipe, load_recipe

TINY = """\
omnimask: 1
modalities:
  image:
    tokenizer: {name: image.patch, image_size: 8, patch_size: 4, channels: 1}
    masker: {name: random, ratio: 0.5}
    corruptor: {name: drop}
encoder: {name: transformer, width: 16, depth: 1, heads: 2}
predictors:
  - {name: decoder, width: 16, depth: 1, heads: 2, target: {name: patch}}
data: {name: digits}
train: {steps: 6, batch_tokens: 32, base_lr: {lr: 1e-3, tokens: 64}, optimizer: {name: adamw}}
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY, encoding="utf-8")
    return path


def rate(recipe: Recipe) -> float:
    assert recipe.train.optimizer is not None
    return recipe.train.optimizer.options["lr"]


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("mae", 2.4e-3),
        ("crossmae", 2.4e-3),
        ("mp3", 2.4e-3),
        ("selfie", 2.4e-3),
        ("modern", 2.4e-3),
        ("maskfeat", 1.6e-3),
        ("simmim", 4e-4),
        ("native", 3e-4),
    ],
)
def test_shipped_recipes_have_the_published_rate_at_the_published_batch(name: str, published: float) -> None:
    recipe = load_recipe(f"image/{name}", ["data.path=photos"])
    assert rate(recipe) == published
    half = load_recipe(f"image/{name}", ["data.path=photos", f"train.batch_tokens={recipe.train.batch_tokens // 2}"])
    assert rate(half) == published / 2


def test_the_batch_of_one_gpu() -> None:
    assert rate(load_recipe("image/mae", ["data.path=photos", "train.batch_tokens=12544"])) == pytest.approx(1.5e-4 * 64 / 256)


def test_what_a_run_keeps_is_the_same_recipe_and_follows_a_changed_batch(tiny: Path, tmp_path: Path) -> None:
    recipe = load_recipe(tiny)
    assert rate(recipe) == 5e-4
    kept = tmp_path / "kept.yaml"
    kept.write_text(recipe.to_yaml(), encoding="utf-8")
    assert "lr: 0.001" in kept.read_text() and "0.0005" not in kept.read_text()
    assert load_recipe(kept) == recipe
    assert rate(load_recipe(kept, ["train.batch_tokens=128"])) == 2e-3


def test_a_recipe_without_it_is_written_without_it(tiny: Path) -> None:
    text = load_recipe(tiny, ["train.base_lr=null", "train.optimizer.lr=0.01"]).to_yaml()
    assert "base_lr" not in text and "lr: 0.01" in text


def test_two_rates_in_one_place_are_refused(tiny: Path, tmp_path: Path) -> None:
    both = tmp_path / "both.yaml"
    both.write_text("omnimask: 1\nextends: tiny.yaml\ntrain: {base_lr: {lr: 1.0, tokens: 64}, optimizer: {lr: 1e-3}}\n")
    for recipe, changes in ((both, []), (tiny, ["train.base_lr={lr: 1.0, tokens: 64}", "train.optimizer.lr=1e-3"])):
        with pytest.raises(UserError) as raised:
            load_recipe(recipe, changes)
        (message,) = raised.value.messages
        assert (
            "train.optimizer.lr: conflicts with train.base_lr, which sets the learning rate from the batch size; remove one, or set"
        ) in message


def test_of_two_places_the_nearer_one_counts(tiny: Path, tmp_path: Path) -> None:
    assert rate(load_recipe(tiny, ["train.optimizer.lr=1e-3"])) == 1e-3
    assert rate(load_recipe(tiny, ["train.optimizer={name: sgd, lr: 0.1}"])) == 0.1
    own = tmp_path / "own.yaml"
    own.write_text("omnimask: 1\nextends: tiny.yaml\ntrain: {optimizer: {lr: 2e-3}}\n")
    recipe = load_recipe(own)
    assert rate(recipe) == 2e-3 and recipe.train.base_lr is None
    assert rate(load_recipe(own, ["train.base_lr={lr: 1e-3, tokens: 64}", "train.batch_tokens=128"])) == 2e-3
    assert load_recipe(own, ["train.base_lr={lr: 1e-3, tokens: 64}"]).train.base_lr is not None


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("train.base_lr={lr: 1e-3}", "train.base_lr: tokens is required"),
        ("train.base_lr={lr: 0, tokens: 64}", "train.base_lr"),
        ("train.base_lr={lr: 1e-3, tokens: 64, rule: sqrt}", "rule"),
        ("train.base_lr=1e-3", "train.base_lr"),
        ("train.batch_tokens=0", "train.batch_tokens"),
    ],
)
def test_faults_are_named_once(tiny: Path, change: str, key: str) -> None:
    with pytest.raises(UserError) as raised:
        load_recipe(tiny, [change])
    (message,) = raised.value.messages
    assert key in message


def test_a_smoke_run_keeps_the_rate_of_the_batch_that_it_shrinks() -> None:
    recipe = load_recipe("image/mae", smoke=True)
    assert recipe.train.base_lr is None and rate(recipe) == 2.4e-3
