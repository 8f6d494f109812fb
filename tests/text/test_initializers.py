"""Continued pretraining from folders that `transformers` wrote: the same logits as there, and refusals."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from omnimask.builder.build import build
from omnimask.recipe import load_recipe

from .pretrained import FAMILIES, LENGTH, built, compare, overrides, peer, refusal, saved, table_and_bias

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_recipe_that_begins_with_a_checkpoint_has_its_logits(family: str, corpus: Path, tmp_path: Path) -> None:
    folder = saved(family, tmp_path / "checkpoint")
    compare(built(family, corpus, folder), peer(family))


@pytest.mark.parametrize("kind", ["xlm-roberta", "camembert"])
def test_what_has_robertas_form(kind: str, corpus: Path, tmp_path: Path) -> None:
    folder = saved("roberta", tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": kind}))
    compare(built("roberta", corpus, folder), transformers.AutoModelForMaskedLM.from_pretrained(folder).eval())


def test_types_of_roberta_are_kept_where_the_recipe_has_them(corpus: Path, tmp_path: Path) -> None:
    folder = saved("roberta", tmp_path / "checkpoint")
    found = built("roberta", corpus, folder, "encoder.types=1")
    compare(found, peer("roberta"))
    stored = load_file(folder / "model.safetensors")["roberta.embeddings.token_type_embeddings.weight"]
    assert torch.equal(found.model.state_dict()["networks.main.encoder.types.weight"], stored)


def test_former_names_and_the_parts_of_pretraining(corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The first published files: gamma and beta, numbered positions, the tied matrix twice, a classifier of sentence pairs."""
    folder = saved("bert", tmp_path / "checkpoint")
    state = load_file(folder / "model.safetensors")
    renamed = {_former(name): tensor for name, tensor in state.items()}
    renamed["bert.embeddings.position_ids"] = torch.arange(LENGTH)[None]
    for name in ("bert.pooler.dense", "cls.seq_relationship"):
        renamed |= {f"{name}.weight": torch.zeros(2, 32), f"{name}.bias": torch.zeros(2)}
    renamed["cls.predictions.decoder.weight"] = renamed["bert.embeddings.word_embeddings.weight"].clone()
    save_file(renamed, folder / "model.safetensors")
    with caplog.at_level(logging.INFO, "omnimask_text"):
        compare(built("bert", corpus, folder), peer("bert"))
    (line,) = [record.getMessage() for record in caplog.records if "does not need it" in record.getMessage()]
    assert "bert.pooler.dense.bias" in line and "cls.seq_relationship.weight" in line and "position_ids" in line


def _former(name: str) -> str:
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def test_settings_of_former_modernberts(corpus: Path, tmp_path: Path) -> None:
    folder = saved("modernbert", tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text())
    del config["layer_types"], config["rope_parameters"]
    former = {"global_attn_every_n_layers": 3, "global_rope_theta": 160000.0, "local_rope_theta": 10000.0}
    (folder / "config.json").write_text(json.dumps({**config, **former}))
    compare(built("modernbert", corpus, folder), peer("modernbert"))
    (folder / "config.json").write_text(json.dumps({**config, **former, "local_rope_theta": None}))
    assert "set encoder.local_position.temperature: 160000" in refusal("modernbert", corpus, folder)


# ---- refusals ----


def test_other_predictors_begin_as_they_were_drawn(corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As of recipes that add an objective to a published model."""
    caplog.set_level("INFO")
    folder = saved("bert", tmp_path / "checkpoint")
    two = ["labels={side: {classes: 2}}", "predictors=[{name: mlm}, {name: sequence, target: {name: label, field: side}}]"]
    found, drawn = (
        built("bert", corpus, folder, *two),
        build(load_recipe("text/bert", [*overrides("bert", corpus, "path: x"), *two]), initialise=False),
    )
    name = "predictors.sequence.head.weight"
    assert torch.equal(found.model.state_dict()[name], drawn.model.state_dict()[name])
    plain = built("bert", corpus, folder)
    assert all(torch.equal(found.model.state_dict()[key], value) for key, value in plain.model.state_dict().items())
    assert "predictors sequence start from random weights:" in caplog.text


def test_recipes_with_several_passes_start_from_a_checkpoint(corpus: Path, tmp_path: Path) -> None:
    """Without `mlm` the encoder alone is read; a teacher starts equal, and a generator that borrows the table has it."""
    folder = saved("bert", tmp_path / "checkpoint")
    plain = built("bert", corpus, folder).model.state_dict()

    def start(recipe: str, *more: str) -> dict[str, torch.Tensor]:
        changes = [*overrides("bert", corpus, f"path: {folder}"), *more]
        return build(load_recipe(f"text/{recipe}", changes)).model.state_dict()

    mirror = start("mirror-bert", "data.group.size=2")
    distilled = start("self-distillation")
    electra = start("electra", *(f"encoders.generator.{option}" for option in GENERATOR))
    for name, value in plain.items():
        if name.startswith("networks.main."):
            assert torch.equal(mirror[name], value) and torch.equal(distilled[name], value) and torch.equal(electra[name], value)
            assert torch.equal(distilled[name.replace(".main.", ".teacher.")], value)
    assert torch.equal(distilled["predictors.mlm.dense.weight"], plain["predictors.mlm.dense.weight"])
    assert torch.equal(electra["networks.generator.embeddings.text.weight"], plain["networks.main.embeddings.text.weight"])
    assert torch.equal(electra["networks.generator.encoder.norm.weight"], plain["networks.main.encoder.norm.weight"])


GENERATOR = ("width=16", "heads=2", "depth=1", f"position.max_length={LENGTH}", "embedding_width=32")


def test_refusals_name_the_remedy(corpus: Path, tmp_path: Path) -> None:
    folder = saved("bert", tmp_path / "checkpoint")
    message = refusal("bert", corpus, folder, "encoder.depth=2", "encoder.heads=2", "encoder.types=0")
    for remedy in ("encoder.depth: 3", "encoder.heads: 4", "encoder.types: 2"):
        assert f"set {remedy}" in message
    assert "set encoder.position.max_length: 40" in refusal("bert", corpus, folder, "encoder.position.max_length=64")
    assert "set encoder.types: 2" in refusal("bert", corpus, folder, "encoder.types=0")
    assert "mlp: gelu" in refusal("bert", corpus, folder, "encoder.mlp=geglu")
    assert "tied: true" in refusal("bert", corpus, folder, "predictors.0.tied=false")
    assert "position: {name: learned}" in refusal("bert", corpus, folder, "encoder.position={name: rotary}")
    assert "describes a model of type 'bert', but this initializer reads 'modernbert'" in refusal("modernbert", corpus, folder)
    two = "predictors=[{name: mlm}, {name: mlm, label: other}]"
    assert "must have one predictor {name: mlm}, but has mlm, other." in refusal("bert", corpus, folder, two)


def test_refusals_of_modernbert(corpus: Path, tmp_path: Path) -> None:
    folder = saved("modernbert", tmp_path / "checkpoint")
    message = refusal("modernbert", corpus, folder, "encoder.global_every=2", "encoder.window=16")
    assert "full attention in blocks 0, 3 in the checkpoint, full attention in blocks 0, 2 in" in message
    assert "set encoder.window: 8" in message
    assert "set encoder.position.temperature: 160000" in refusal(
        "modernbert", corpus, folder, "encoder.position.temperature=10000.0"
    )
    assert "bias: false" in refusal("modernbert", corpus, folder, "predictors.0.bias=true")
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"]["full_attention"]["rope_type"] = "yarn"
    (folder / "config.json").write_text(json.dumps(config))
    assert "rotary positions are scaled" in refusal("modernbert", corpus, folder)


def test_weights_without_a_place_and_missing_ones(corpus: Path, tmp_path: Path) -> None:
    folder = saved("bert", tmp_path / "checkpoint")
    state = load_file(folder / "model.safetensors")
    save_file({**state, "bert.adapter.weight": torch.zeros(1)}, folder / "model.safetensors")
    assert "weights of the checkpoint that the model lacks: ['bert.adapter.weight']" in refusal("bert", corpus, folder)
    save_file({**state, "cls.predictions.decoder.weight": torch.zeros(8192, 32)}, folder / "model.safetensors")
    assert ("cls.predictions.decoder.weight differs from its bert.embeddings.word_embeddings.weight;") in refusal(
        "bert", corpus, folder
    )
    del state["cls.predictions.bias"]
    save_file(state, folder / "model.safetensors")
    assert "lacks ['cls.predictions.bias']" in refusal("bert", corpus, folder)


def test_other_forms_and_pickles(corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = saved("bert", tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_act": "relu", "is_decoder": True}))
    message = refusal("bert", corpus, folder)
    assert "hidden_act: 'relu'" in message and "is_decoder: True" in message
    (folder / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-5}))
    built("bert", corpus, folder)
    assert "set norm_eps: 1e-05 in encoder and predictor" in caplog.text
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "pickled weights can run arbitrary code" in refusal("bert", corpus, folder)
    assert "does not exist" in refusal("bert", corpus, tmp_path / "nowhere")


def test_half_precision_is_read(corpus: Path, tmp_path: Path) -> None:
    folder = saved("bert", tmp_path / "checkpoint")
    state = {name: tensor.half() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(state, folder / "model.safetensors")
    table, _ = table_and_bias(built("bert", corpus, folder))
    assert table.dtype == torch.float32
    assert np.array_equal(table.numpy(), state["bert.embeddings.word_embeddings.weight"].float().numpy())
