"""Encoders that other predictors than `mlm` trained leave as the encoders of a plain BERT: the same names, shapes and outputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from omnimask.builder.build import Built
from omnimask.data.planner import Place
from omnimask.export.weights import outputs
from omnimask.interfaces import Context, Exporter, Trained
from omnimask.registry import discover

from .learning import batches, learn, small

transformers = pytest.importorskip("transformers")

LENGTH = "encoder.position.max_length=64"
RECIPES = {
    "drbert": ("predictors.0.heads=4", "predictors.0.mlp_width=96"),
    "ernie-gram": ("modalities.text.masker.sizes=[40, 20]", "predictors.0.target.num_units=60"),
    "rts": (),
    "c-rts": ("modalities.text.corruptor.clusters=random",),
    "electra": ("encoders.generator.depth=1", "encoders.generator.embedding_width=64", "encoders.generator.position.max_length=64"),
}


def trained(built: Built) -> Trained:
    samples = [built.validation.sample(Place(0, i, index, 0.0)) for i, index in enumerate(built.validation_indices[:4].tolist())]
    return Trained(built.model.eval(), built.tokenizers, built.specs, built.recipe.to_yaml(), built.validation.pack(samples))


def export(built: Built, name: str, folder: Path) -> None:
    exporter: Exporter = discover().load("exporter", name)(Context())
    folder.mkdir()
    measured = exporter(trained(built), folder)
    assert measured.difference <= 1e-5 * measured.scale


@pytest.mark.parametrize("name", RECIPES)
def test_the_encoder_is_that_of_a_plain_bert(name: str, tmp_path: Path) -> None:
    """After a few steps, its weights in `text/bert` give an export with the same parameters and outputs, and none more."""
    built = small(f"text/{name}", LENGTH, *RECIPES[name], steps=3)
    learn(built, batches(built, 3), lr=0.02)
    plain = small("text/bert", LENGTH)
    state = {key: value for key, value in built.model.state_dict().items() if key.startswith("networks.main.")}
    missing, unexpected = plain.model.load_state_dict(state, strict=False)
    assert not unexpected and all(key.startswith("predictors.mlm.") for key in missing)
    export(built, "text.bert_encoder", tmp_path / "own")
    export(plain, "text.bert", tmp_path / "plain")
    mine = load_file(tmp_path / "own" / "model.safetensors")
    theirs = {key.removeprefix("bert."): value for key, value in load_file(tmp_path / "plain" / "model.safetensors").items()}
    assert mine.keys() == {key for key in theirs if not key.startswith("cls.")}
    assert all(torch.equal(value, theirs[key]) for key, value in mine.items())
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "own")
    rows = tokenizer(["The encoder reads a sentence.", "Short."], padding=True, return_tensors="pt")
    own = transformers.BertModel.from_pretrained(tmp_path / "own", add_pooling_layer=False).eval()
    other = transformers.BertForMaskedLM.from_pretrained(tmp_path / "plain").eval().bert
    with torch.no_grad():
        assert torch.equal(own(**rows).last_hidden_state, other(**rows).last_hidden_state)
    assert sum(p.numel() for p in own.parameters()) == sum(p.numel() for p in other.parameters())


def test_the_decoder_does_not_change_what_the_encoder_computes() -> None:
    """The features of a batch are those of the same encoder below `mlm`, bit for bit."""
    built, plain = small("text/drbert", LENGTH, *RECIPES["drbert"]), small("text/bert", LENGTH)
    state = {key: value for key, value in built.model.state_dict().items() if not key.startswith("predictors.")}
    plain.model.load_state_dict(state, strict=False)
    batch = trained(plain).batch
    assert torch.equal(outputs(built.model.eval(), batch)["main: features"], outputs(plain.model, batch)["main: features"])


def test_a_model_with_mlm_alone_is_left_to_its_exporter(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"text\.bert writes mlm with its output layer"):
        export(small("text/bert", LENGTH), "text.bert_encoder", tmp_path / "out")


def test_a_derived_output_layer_is_not_written_as_berts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the model has DeepMLM but needs a predictor \{name: mlm\}"):
        export(small("text/drbert", LENGTH, *RECIPES["drbert"]), "text.bert", tmp_path / "out")
