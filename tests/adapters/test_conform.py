"""Encoders of other libraries keep the contracts that every encoder keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from omnimask.builder.build import build
from omnimask.component import Component, named
from omnimask.recipe import load_recipe
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


@pytest.mark.parametrize("name", ["timm", "transformers"])
def test_activations_that_are_computed_again_give_the_same_gradients(name: str) -> None:
    built = build(load_recipe(f"adapters/{name}", smoke=True))
    batch = next(iter(built.validation_batches()))
    gradients = []
    for enabled in (False, True):
        built.model.train().zero_grad()
        built.model.each()[0].encoder.set_activation_checkpointing(enabled)  # pyright: ignore[reportCallIssue]
        built.model(batch).loss.backward()
        gradients.append({n: p.grad.clone() for n, p in built.model.named_parameters() if p.grad is not None})
    assert all(torch.equal(gradient, gradients[1][name]) for name, gradient in gradients[0].items())
