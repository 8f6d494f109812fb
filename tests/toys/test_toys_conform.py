"""The toy plugins keep the contracts that every plugin keeps, and their recipes those of every model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_grammar
import toy_pairs
import toy_signal

from omnimask.interfaces import Context, Dataset, Tokenizer
from omnimask.registry import Registry
from omnimask.testing import DatasetContract, PluginContract, RecipeContract, TokenizerContract

from .conftest import RECIPES, toy_registry


class TestWindows(TokenizerContract):
    def tokenizer(self) -> Tokenizer:
        return toy_signal.WindowTokenizer(Context(), window=6)

    def raw_values(self) -> Sequence[Any]:
        return [toy_signal.signal_of("a"), np.zeros(96, np.float64)]

    def bad_values(self) -> Mapping[str, Any]:
        return {
            "text": "signal",
            "too short": np.zeros(95, np.float32),
            "two channels": np.zeros((96, 2), np.float32),
            "integers": np.zeros(96, np.int64),
            "not a number": np.full(96, np.nan, np.float32),
            "nothing": None,
        }


class TestWords(TokenizerContract):
    def tokenizer(self) -> Tokenizer:
        return toy_grammar.WordTokenizer(Context())

    def raw_values(self) -> Sequence[Any]:
        return ["a", "abcdefgh", toy_grammar.sentence_of("b")]

    def bad_values(self) -> Mapping[str, Any]:
        return {"empty": "", "another letter": "abz", "bytes": b"ab", "number": 3, "nothing": None, "upper case": "AB"}


class TestSignals(DatasetContract):
    def dataset(self) -> Dataset:
        return toy_signal.Signals(Context())


class TestChirps(DatasetContract):
    def dataset(self) -> Dataset:
        return toy_signal.Chirps(Context())


class TestSentences(DatasetContract):
    def dataset(self) -> Dataset:
        return toy_grammar.Sentences(Context())


class TestPairs(DatasetContract):
    def dataset(self) -> Dataset:
        return toy_pairs.Pairs(Context())


class ToyRecipe(RecipeContract):
    smoke = False
    name: str

    def recipe(self) -> Path:
        return RECIPES / f"{self.name}.yaml"

    def registry(self) -> Registry:
        return toy_registry()


class TestWordsInPlace(ToyRecipe):
    name = "words_in_place"


class TestWordsSentinels(ToyRecipe):
    name = "words_sentinels"


class TestSignalDrop(ToyRecipe):
    name = "signal_drop"


class TestSignalPositions(ToyRecipe):
    name = "signal_positions"


class TestSignalPick(ToyRecipe):
    name = "signal_pick"


class TestPairsDrop(ToyRecipe):
    name = "pairs_drop"


class TestPairsConv(ToyRecipe):
    name = "pairs_conv"


class TestPairsMixed(ToyRecipe):
    name = "pairs_mixed"


class TestWordsSmoke(ToyRecipe):
    name, smoke = "words_in_place", True


@pytest.mark.parametrize("name", ["toy_signal", "toy_grammar", "toy_pairs"])
class TestToyPlugins:
    """Plugins that are not installed, through the contract's own methods."""

    @pytest.mark.parametrize("test", [name for name in dir(PluginContract) if name.startswith("test_")])
    def test_plugin(self, name: str, test: str) -> None:
        members = {"plugin": lambda self: name, "registry": lambda self: toy_registry(), "is_light": False}
        contract = type("Contract", (PluginContract,), members)
        getattr(contract(), test)()


class TestSignalLatent(ToyRecipe):
    name = "signal_latent"


class TestWordsCorrected(ToyRecipe):
    name = "words_corrected"


class TestPairsStacked(ToyRecipe):
    name = "pairs_stacked"
    unused_parameters = ("networks.main.embeddings.words.weight", "networks.main.embeddings.signal")


class TestWordsMirrored(ToyRecipe):
    name = "words_mirrored"


class TestWordsJudged(ToyRecipe):
    name = "words_judged"
