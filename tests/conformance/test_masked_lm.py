"""Output layers of masked language models keep the contracts of predictors and targets."""

from __future__ import annotations

from typing import Any

from omnimask.component import Component, named
from omnimask.testing import PredictorContract

UNITS = named("masker", "lexicon", ratio=0.4, sizes=(12, 6), min_count=2)


class TestDeepMLM(PredictorContract):
    position = "none"

    def predictor(self) -> Component[Any]:
        return named("predictor", "deep_mlm", depth=2, heads=2, mlp_width=48, position=named("position", self.position))


class TestDeepMLMWithPositions(TestDeepMLM):
    position = "sincos"


class TestDeepMLMRotary(TestDeepMLM):
    position = "rotary"


class TestDeepMLMAlibi(TestDeepMLM):
    position = "alibi"


class TestDeepMLMAtAMiddleLayer(TestDeepMLM):
    layer = 1
    unused_parameters = ("networks.main.encoder.stack.blocks.1.", "networks.main.encoder.norm.")


class OfUnits(PredictorContract):
    def corruptor(self) -> Component[Any]:
        return named("corruptor", "unit_token")

    def masker(self) -> Component[Any]:
        return UNITS


class TestUnitMLM(OfUnits):
    def predictor(self) -> Component[Any]:
        return named("predictor", "unit_mlm", target=named("target", "unit_ids", num_units=18))


class TestUnitTokens(OfUnits):
    def predictor(self) -> Component[Any]:
        return named("predictor", "unit_tokens", max_length=3)
