"""Conformance tests of the plugin's components."""

import numpy as np

from omnimask.interfaces import Context
from omnimask.testing import DatasetContract, MaskerContract, PluginContract, RecipeContract, TokenizerContract
from omnimask_waves.data import Waves
from omnimask_waves.maskers import ForecastMasker
from omnimask_waves.tokenizer import WindowTokenizer


class TestWindowTokenizer(TokenizerContract):
    tolerance = 1e-6

    def tokenizer(self):
        return WindowTokenizer(Context(), window=8)

    def raw_values(self):
        return [np.zeros(8), np.sin(np.arange(160.0))]

    def bad_values(self):
        return {"too short": np.zeros(7), "two axes": np.zeros((8, 2)), "no number": np.full(8, np.nan), "text": "series"}


class TestForecastMasker(MaskerContract):
    def masker(self):
        return ForecastMasker(Context(), least=0.25, most=0.5)


class TestWaves(DatasetContract):
    def dataset(self):
        return Waves(Context())


class TestQuickstart(RecipeContract):
    def recipe(self):
        return "waves/quickstart"


class TestPlugin(PluginContract):
    def plugin(self):
        return "waves"
