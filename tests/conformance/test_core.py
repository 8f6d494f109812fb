"""The framework's own components keep the contracts that plugins keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from omnimask.component import Component, named
from omnimask.components.corruptors.drop import Drop
from omnimask.components.corruptors.keep import Keep
from omnimask.components.corruptors.mask_token import MaskToken
from omnimask.components.corruptors.sentinel_spans import SentinelSpans
from omnimask.components.maskers.block import BlockMasker
from omnimask.components.maskers.grid import GridMasker
from omnimask.components.maskers.multi_block import MultiBlockMasker
from omnimask.components.maskers.none import NoMasker
from omnimask.components.maskers.random import RandomMasker
from omnimask.components.maskers.span import SpanMasker
from omnimask.interfaces import Context, Corruptor, Masker, Masking, Sample, TokenSpec
from omnimask.testing import CorruptorContract, EncoderContract, MaskerContract, PluginContract, PredictorContract

IDS = TokenSpec(vocabulary=11)
TUBELETS = TokenSpec(width=(2, 3), axes=3, extent=(3, 5, 5), dtype="uint8")
OWN_MASK = TokenSpec(vocabulary=11, special_ids={"mask": 3})
PATCHES = TokenSpec(width=(2, 3), axes=2, extent=(8, 8), dtype="uint8")


class TestRandom(MaskerContract):
    ratio, is_exact = 0.3, True

    def masker(self) -> Masker:
        return RandomMasker(Context(), ratio=0.3)


class TestRandomEverything(TestRandom):
    ratio = 1.0

    def masker(self) -> Masker:
        return RandomMasker(Context(), ratio=1.0)


class TestSpan(MaskerContract):
    ratio, is_exact = 0.15, True

    def masker(self) -> Masker:
        return SpanMasker(Context())


class TestManyShortSpans(MaskerContract):
    ratio, is_exact = 0.9, True

    def masker(self) -> Masker:
        return SpanMasker(Context(), ratio=0.9, mean_length=1.0)


class TestBlock(MaskerContract):
    ratio, is_exact = 0.4, True
    spec = PATCHES

    def masker(self) -> Masker:
        return BlockMasker(Context(), ratio=0.4, size=2, max_size=4, aspect=(0.3, 3.3))


class TestInverseBlock(MaskerContract):
    ratio, is_exact = 0.8, True
    spec = TUBELETS

    def masker(self) -> Masker:
        return BlockMasker(Context(), ratio=0.8, size=(1, 3, 3), inverse=True)


class TestBlockOfOneAxis(MaskerContract):
    ratio, is_exact = 0.3, True

    def masker(self) -> Masker:
        return BlockMasker(Context(), ratio=0.3, size=4)


class TestGrid(MaskerContract):
    ratio = 0.75
    spec = PATCHES

    def masker(self) -> Masker:
        return GridMasker(Context())


class TestGridOfThreeAxes(MaskerContract):
    ratio = 5 / 6
    spec = TUBELETS

    def masker(self) -> Masker:
        return GridMasker(Context(), stride=(1, 2, 3))


class TestMultiBlock(MaskerContract):
    spec = PATCHES

    def masker(self) -> Masker:
        return MultiBlockMasker(Context(), aspect=(0.75, 1.5))


class TestMultiBlockThroughTime(MaskerContract):
    spec = TUBELETS

    def masker(self) -> Masker:
        return MultiBlockMasker(Context(), num_targets=8, scale=(0.15, 0.15), full_axes=(0,), together=True)


class TestNone(MaskerContract):
    ratio, is_exact = 0.0, True

    def masker(self) -> Masker:
        return NoMasker(Context())


class TestDrop(CorruptorContract):
    specs = {"ids": IDS, "patches": PATCHES}

    def corruptor(self, context: Context) -> Corruptor:
        return Drop(context)


class TestDropOfASharedSet(TestDrop):
    """Two overlapping sets of targets, each asked for by itself."""

    def masking(self, sample: Sample, name: str, ratio: float) -> Masking:
        masking = super().masking(sample, name, ratio)
        number = np.cumsum(masking.is_target)
        groups = masking.is_target & np.stack([number % 3 != 0, number % 3 != 1])
        return Masking(masking.is_visible, masking.is_target, level=masking.level, groups=groups)


class TestDropAskingForHalf(TestDrop):
    asks_all_targets = False

    def corruptor(self, context: Context) -> Corruptor:
        return Drop(context, ask=0.5)


class TestMaskToken(CorruptorContract):
    specs = {"own": OWN_MASK, "patches": PATCHES, "ids": IDS}

    def corruptor(self, context: Context) -> Corruptor:
        return MaskToken(context)


class TestKeep(CorruptorContract):
    specs = {"ids": IDS, "patches": PATCHES}
    hides_all_hidden = answers_are_hidden = False

    def corruptor(self, context: Context) -> Corruptor:
        return Keep(context)


class TestSentinelSpans(CorruptorContract):
    renumber = True

    def corruptor(self, context: Context) -> Corruptor:
        return SentinelSpans(context, renumber=self.renumber)


class TestSentinelSpansInPlace(TestSentinelSpans):
    renumber = False


class TestSentinelSpansOfUnits(TestSentinelSpans):
    """Adjacent spans, told apart by their units alone."""

    def masking(self, sample: Sample, name: str, ratio: float) -> Masking:
        masking = super().masking(sample, name, ratio)
        unit = np.where(masking.is_target, np.arange(len(masking.is_target)) // 2, -1)
        return Masking(masking.is_visible, masking.is_target, unit, level=masking.level)


class TestTransformer(EncoderContract):
    options: Mapping[str, Any] = {"position": named("position", "sincos")}

    def encoder(self) -> Component[Any]:
        return Component("encoder", "transformer", {"width": 32, "depth": 2, "heads": 2, **self.options})


class TestTransformerRotarySummary(TestTransformer):
    modality = "vectors"
    options = {"position": named("position", "rotary"), "summary": 2}


class TestTransformerLearned(TestTransformer):
    modality = "vectors"
    options = {"position": named("position", "learned", max_length=32)}


class TestDeberta(EncoderContract):
    """Few buckets, so that distances are single, logarithmic and clamped."""

    options: Mapping[str, Any] = {}

    def encoder(self) -> Component[Any]:
        small = {"width": 32, "depth": 2, "heads": 2, "buckets": 4, "max_distance": 6}
        return Component("encoder", "deberta", {**small, **self.options})


class TestDebertaNarrowEmbedding(TestDeberta):
    modality = "vectors"
    options = {"embedding_width": 24}


class TestInPlace(PredictorContract):
    def predictor(self) -> Component[Any]:
        return Component("predictor", "in_place", {"target": named("target", "ids")})


class TestInPlaceAtAMiddleLayer(PredictorContract):
    modality, layer = "vectors", 1
    unused_parameters = ("networks.main.encoder.stack.blocks.1.", "networks.main.encoder.norm.")

    def predictor(self) -> Component[Any]:
        return Component("predictor", "in_place", {"target": named("target", "patch", normalize=True)})


class TestDecoder(PredictorContract):
    modality = "vectors"
    position = "sincos"

    def predictor(self) -> Component[Any]:
        options = {"width": 24, "depth": 1, "heads": 2, "position": named("position", self.position)}
        return Component("predictor", "decoder", {**options, "target": named("target", "patch")})

    def corruptor(self) -> Component[Any]:
        return named("corruptor", "drop")


class TestDecoderRotary(TestDecoder):
    position = "rotary"


class TestDecoderOfIds(TestDecoder):
    modality = "letters"

    def predictor(self) -> Component[Any]:
        return named("predictor", "decoder", width=24, depth=1, heads=2, target=named("target", "ids"))


class TestSequence(PredictorContract):
    def predictor(self) -> Component[Any]:
        return named("predictor", "sequence", target=named("target", "label", field="begins"))


class TestSequenceOfNumbers(PredictorContract):
    modality = "vectors"

    def predictor(self) -> Component[Any]:
        return named("predictor", "sequence", target=named("target", "label", field="mean"), pool="mean", pooler=False)


class TestPreference(PredictorContract):
    group = 4

    def predictor(self) -> Component[Any]:
        return named("predictor", "preference", field="mean")


class TestPreferenceOfTheMean(TestPreference):
    modality, group = "vectors", 8

    def predictor(self) -> Component[Any]:
        return named("predictor", "preference", field="mean", margin=0.5, pool="mean", pooler=False)


class TestAutoregressive(PredictorContract):
    def predictor(self) -> Component[Any]:
        return named("predictor", "autoregressive", width=24, depth=1, heads=2, target=named("target", "ids"))

    def corruptor(self) -> Component[Any]:
        return named("corruptor", "sentinel_spans", num_sentinels=10)

    def masker(self) -> Component[Any]:
        return named("masker", "span", ratio=0.4, mean_length=2.0)


class TestCorePlugin(PluginContract):
    def plugin(self) -> str:
        return "core"

    def overrides(self, recipe: str) -> Sequence[str]:
        text = ["modalities.text.tokenizer.path=."] if recipe.startswith("text/") else []
        begins = ("text/lem", "text/entitycs", "text/bioptimus", "text/bitimebert", "text/span-origin", "text/prop")
        init = ["init.path=."] if recipe in begins else []
        augment = ["modalities.text.augment.0.dictionary=entities.json"] if recipe == "text/entitycs" else []
        return ("data.path=.", *text, *init, *augment)
