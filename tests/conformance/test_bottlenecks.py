"""Predictors that read a sequence's one vector, or a part of the encoder, keep the contracts that plugins keep."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from omnimask.builder.build import Built, build
from omnimask.component import Component, named
from omnimask.recipe import Recipe
from omnimask.recipe.config import PassConfig, ViewConfig
from omnimask.testing import ModelContract, PredictorContract, TargetContract
from omnimask.testing.synthetic import synthetic_recipe

SINCOS = named("position", "sincos")


def bottleneck(**options: Any) -> Component[Any]:
    return named("predictor", "bottleneck", **{"heads": 2, "mlp_width": 32, "position": SINCOS, **options})


class TestBottleneck(PredictorContract):
    query = "again"

    def predictor(self) -> Component[Any]:
        return bottleneck(target=named("target", "ids"))


class TestBottleneckOfTheMean(TestBottleneck):
    """The vector stands before the first slot; places are turned."""

    def predictor(self) -> Component[Any]:
        return bottleneck(pool="mean", project=True, position=named("position", "rotary"), depth=2)


class TestBottleneckOfVectors(TestBottleneck):
    modality = "vectors"

    def predictor(self) -> Component[Any]:
        return bottleneck(target=named("target", "patch"), tied=False)


class TestEnhancedDecoding(TestBottleneck):
    """What is drawn belongs to the sample: packing, order and splitting change nothing."""

    def predictor(self) -> Component[Any]:
        return bottleneck(visibility=0.5, depth=2)


class TestEnhancedDecodingRotary(TestBottleneck):
    def predictor(self) -> Component[Any]:
        return bottleneck(visibility=0.5, pool="mean", position=named("position", "rotary"))


class TestBottleneckOfDroppedTokens(PredictorContract):
    """It knows the visible tokens by their vector alone."""

    def predictor(self) -> Component[Any]:
        return bottleneck(pool="mean")

    def corruptor(self) -> Component[Any]:
        return named("corruptor", "drop")


class TestBagOfWords(PredictorContract):
    """The entropy of the sets stays: most of the made-up letters are in every sample."""

    overfit_factor = 0.95

    def predictor(self) -> Component[Any]:
        return named("predictor", "bag_of_words")


class TestBagOfWordsByTheMean(TestBagOfWords):
    def predictor(self) -> Component[Any]:
        return named("predictor", "bag_of_words", pool="mean", tied=False)


class TestMatryoshka(PredictorContract):
    sizes = ((1, 8), (2, 32))

    def predictor(self) -> Component[Any]:
        return named("predictor", "matryoshka", inner=named("predictor", "mlm"), sizes=self.sizes)


class TestMatryoshkaWithDistance(TestMatryoshka):
    sizes = ((1, 16), (2, 16), (2, 32))

    def predictor(self) -> Component[Any]:
        return named("predictor", "matryoshka", inner=named("predictor", "mlm"), sizes=self.sizes, distance=0.5)


class TestMatryoshkaOfABottleneck(TestMatryoshka):
    query = "again"

    def predictor(self) -> Component[Any]:
        return named("predictor", "matryoshka", inner=bottleneck(project=True), sizes=self.sizes)


class TestMatryoshkaOfVectors(TestMatryoshka):
    modality = "vectors"

    def predictor(self) -> Component[Any]:
        return named(
            "predictor", "matryoshka", inner=named("predictor", "in_place", target=named("target", "patch")), sizes=self.sizes
        )


class TestSmoothedAlike(TargetContract):
    def target(self) -> Component[Any]:
        return named("target", "smoothed", share=0.2)


def probed(share: float = 0.5) -> Recipe:
    """The same predictor is asked about the same tokens before, where they are shown."""
    recipe = synthetic_recipe(target=named("target", "smoothed", share=share, probe="probe"))
    view = ViewConfig("shown", None, {}, named("corruptor", "keep"), None)
    return replace(recipe, views={"shown": view}, passes=(PassConfig("probe", "shown", predictors=("in_place",)),))


class TestSmoothedByAProbe(ModelContract):
    def built(self) -> Built:
        return build(probed())
