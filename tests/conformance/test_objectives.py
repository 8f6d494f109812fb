"""Corruptors, targets and predictors of objectives other than reconstruction keep the contracts that plugins keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omnimask.component import Component, named
from omnimask.components.corruptors.withhold_position import WithholdPosition
from omnimask.interfaces import Context, Corruptor, TokenSpec
from omnimask.testing import CorruptorContract, PredictorContract, TargetContract

IDS = TokenSpec(vocabulary=11)
PATCHES = TokenSpec(width=(2, 3), axes=2, extent=(8, 8), dtype="uint8")


class TestWithholdPosition(CorruptorContract):
    specs = {"ids": IDS, "patches": PATCHES}
    hides_all_hidden = answers_are_hidden = False  # contents stay, places are the answers

    def corruptor(self, context: Context) -> Corruptor:
        return WithholdPosition(context)


class TestWithholdPositionOfAShare(TestWithholdPosition):
    def corruptor(self, context: Context) -> Corruptor:
        return WithholdPosition(context, seen=0.3)


class TestWithholdPositionSeeingThePlaced(TestWithholdPosition):
    def corruptor(self, context: Context) -> Corruptor:
        return WithholdPosition(context, seen="placed")


class TestPosition(TargetContract):
    def target(self) -> Component[Any]:
        return named("target", "position", max_length=32)


class TestPositionSmoothed(TargetContract):
    modality = "vectors"

    def target(self) -> Component[Any]:
        return named("target", "position", max_length=32, smoothing=1.5)


class TestInPlaceOfWithheldPositions(PredictorContract):
    modality = "vectors"

    def predictor(self) -> Component[Any]:
        return named("predictor", "in_place", target=named("target", "position", max_length=32))

    def corruptor(self) -> Component[Any]:
        return named("corruptor", "withhold_position", seen=0.5)


class TestPick(PredictorContract):
    modality = "vectors"

    def predictor(self) -> Component[Any]:
        return named("predictor", "pick", heads=2, layers=2)

    def corruptor(self) -> Component[Any]:
        return named("corruptor", "drop")


class TestPickOfIds(TestPick):
    modality = "letters"
    overfit_factor = 0.9  # seven letters: equal ones cannot be told apart

    def predictor(self) -> Component[Any]:
        return named("predictor", "pick", heads=2, layers=2)


class TestPickAsPublished(TestPick):
    overfit_factor = 0.98  # a token's score is that for the sample plus that for the place

    def predictor(self) -> Component[Any]:
        return named("predictor", "pick", heads=2)


class TestPickAtAMiddleLayer(TestPick):
    layer = 1
    unused_parameters = ("networks.main.encoder.stack.blocks.1.", "networks.main.encoder.norm.")


class TestConvDecoder(PredictorContract):
    modality = "vectors"
    options: Mapping[str, Any] = {}

    def predictor(self) -> Component[Any]:
        small = {"width": 32, "depth": 2, "groups": 4, "kernel": 5, "target": named("target", "patch")}
        return Component("predictor", "conv_decoder", {**small, **self.options})

    def corruptor(self) -> Component[Any]:
        return named("corruptor", "drop")


class TestConvDecoderOfAnotherWidth(TestConvDecoder):
    options = {"width": 24, "fill": "learned", "head_layers": 2}


class TestConvDecoderOfIds(TestConvDecoder):
    modality = "letters"
    options = {"residual": False, "target": named("target", "ids")}


class TestConvDecoderOfHalf(TestConvDecoder):
    """Cells of tokens that are neither seen nor asked for."""

    def corruptor(self) -> Component[Any]:
        return named("corruptor", "drop", ask=0.5)
