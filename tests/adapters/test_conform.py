"""Encoders of other libraries keep the contracts that every encoder keeps."""

from __future__ import annotations

from typing import Any

import pytest

from omnimask.component import Component, named
from omnimask.testing import EncoderContract, PluginContract, RecipeContract

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}

pytest.importorskip("transformers")
pytest.importorskip("timm")


class TestBert(EncoderContract):
    model_type, options = "bert", {**SMALL, **NO_DROPOUT}

    def encoder(self) -> Component[Any]:
        return named("encoder", "transformers", model_type=self.model_type, options=self.options, folder=None)


class TestRoberta(TestBert):
    model_type = "roberta"


class TestModernBert(TestBert):
    model_type = "modernbert"
    options = {**SMALL, "attention_dropout": 0.0, "mlp_dropout": 0.0, "embedding_dropout": 0.0}


class TestDeberta(TestBert):
    """Goes by the order of the tokens that it reads."""

    model_type = "deberta-v2"
    options = {**SMALL, **NO_DROPOUT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False}


class TestTimm(EncoderContract):
    def encoder(self) -> Component[Any]:
        options = {"embed_dim": 32, "depth": 2, "num_heads": 2}
        return named("encoder", "timm", model="vit_tiny_patch16_224", options=options, position=named("position", "sincos"))


class TestTimmOnVectors(TestTimm):
    modality = "vectors"


class TestTimmRecipe(RecipeContract):
    def recipe(self) -> str:
        return "adapters/timm"


class TestTransformersRecipe(RecipeContract):
    def recipe(self) -> str:
        return "adapters/transformers"


class TestPlugin(PluginContract):
    def plugin(self) -> str:
        return "adapters"
