"""Conformance tests of the package's components."""

from pathlib import Path

import numpy as np
import pytest

import omnimask
from omnimask.component import named
from omnimask.interfaces import Context
from omnimask.testing import (
    DatasetContract,
    EmbeddingContract,
    MaskerContract,
    PluginContract,
    RecipeContract,
    RendererContract,
    TargetContract,
    TokenizerContract,
)
from omnimask_timeseries.data import CsvWindows, Stocks
from omnimask_timeseries.maskers import ForecastMasker
from omnimask_timeseries.show import Plot
from omnimask_timeseries.synthetic import Seasons
from omnimask_timeseries.tokenizer import WindowTokenizer


def wave(length: int, channels: int) -> np.ndarray:
    return np.sin(np.arange(length * channels, dtype=np.float64).reshape(length, channels) / 7) * 100 + 20


class TestWindowTokenizer(TokenizerContract):
    tolerance = 1e-4  # float32, at values up to 120

    def tokenizer(self):
        return WindowTokenizer(Context(), window=8)

    def raw_values(self):
        gaps = wave(32, 2)
        gaps[3:20, 1] = np.nan
        gaps[30, 0] = np.nan
        return [wave(8, 1)[:, 0], wave(160, 3), gaps, np.zeros((16, 1)), np.full((16, 2), [1.0, np.nan])]

    def is_same(self, raw, again):
        return np.allclose(np.reshape(raw, again.shape), again, rtol=0, atol=self.tolerance, equal_nan=True)

    def bad_values(self):
        return {
            "too short": np.zeros(7),
            "three axes": np.zeros((8, 2, 2)),
            "nothing measured": np.full(8, np.nan),
            "infinity": np.full(8, np.inf),
            "integers": np.zeros(8, np.int64),
            "text": "series",
            "nothing": None,
        }


class TestOneChannel(TestWindowTokenizer):
    def tokenizer(self):
        return WindowTokenizer(Context(), window=5, channels=2, scale="none")

    def raw_values(self):
        return [wave(5, 2), wave(60, 2)]

    def bad_values(self):
        return {"one channel": wave(16, 1), "three channels": wave(16, 3)}


class TestForecastMasker(MaskerContract):
    def masker(self):
        return ForecastMasker(Context(), least=0.25, most=0.5)


SMALL = (
    "data={name: timeseries.seasons, size: 32, length: 64}",
    "encoder={name: transformer, width: 32, depth: 1, heads: 2}",
    "modalities.timeseries.corruptor={name: mask_token}",
    "predictors=[{name: in_place, target: {name: timeseries.values}}]",
)


class TestValues(TargetContract, EmbeddingContract):
    """Target and embedding in a small recipe with both."""

    modality = "timeseries"
    overfit_factor = 0.9

    def target(self):
        return named("target", "timeseries.values")

    def embedding(self):
        return named("embedding", "timeseries.values")

    def built(self):
        return omnimask.build(omnimask.load_recipe("timeseries", SMALL))


class TestPlot(RendererContract):
    def renderer(self):
        return Plot(Context())

    def raw_values(self):
        gaps = wave(64, 6)
        gaps[10:30] = np.nan
        return [wave(8, 1), gaps]


class TestStocks(DatasetContract):
    def dataset(self):
        return Stocks(Context())

    def changed(self):
        return Stocks(Context(), stride=6)


class TestSeasons(DatasetContract):
    def dataset(self):
        return Seasons(Context())

    def changed(self):
        return Seasons(Context(), length=96)


class TestCsv(DatasetContract):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.path = tmp_path / "plant.csv"
        lines = [f"2024-01-01 {hour:02d}:00,{hour},{'' if hour == 5 else hour * 2}" for hour in range(24)]
        self.path.write_text("\n".join(["date,load,flow", *lines]), encoding="utf-8")

    def dataset(self):
        return CsvWindows(Context(), path=self.path, length=6)

    def changed(self):
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n2024-01-02 00:00,1,1" * 6)
        return self.dataset()


class TestQuickstart(RecipeContract):
    unused_parameters = ("networks.main.embeddings.timeseries.missing",)  # the first stocks have no gaps; see the next class

    def recipe(self):
        return "timeseries/quickstart"


class TestSeveralChannels(RecipeContract):
    smoke = False
    overrides = ("data={name: timeseries.seasons, size: 32, length: 64}", "encoder.width=32", "encoder.depth=2", "encoder.heads=2")

    def recipe(self):
        return "timeseries/quickstart"


class TestLatent(RecipeContract):
    unused_parameters = TestQuickstart.unused_parameters

    def recipe(self):
        return "timeseries/latent"


class TestPatchTst(RecipeContract):
    unused_parameters = (
        *TestQuickstart.unused_parameters,
        "networks.main.encoder.norm",  # the head reads what comes before the last norm
    )

    def recipe(self):
        return "timeseries/patchtst"


class TestPlugin(PluginContract):
    def plugin(self):
        return "timeseries"

    def overrides(self, recipe):
        return (f"data.path={Path(__file__)}",)
