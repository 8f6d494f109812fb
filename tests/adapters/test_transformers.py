"""A wrapped model of transformers is the bare one on padded input, with every token at its place."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from omnimask.builder.build import Built, build
from omnimask.component import Component, named
from omnimask.data.planner import Place
from omnimask.interfaces import Context, MaskedBatch, Packed, TokenSpec
from omnimask.packed import dense
from omnimask.recipe import load_recipe
from omnimask.testing import synthetic_recipe

transformers = pytest.importorskip("transformers")

from omnimask_adapters.transformers_encoder import TransformersEncoder  # noqa: E402
from omnimask_adapters.transformers_model import goes_by_position_ids, model_from_config  # noqa: E402

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
LETTERS = Context(specs={"letters": TokenSpec(vocabulary=7)}, modalities=("letters",))
TOLERANCE = 1e-6  # relative; the wrapped model is the bare one, on the same numbers


def built(corruptor: str, model_type: str = "bert", options: dict[str, Any] | None = None) -> Built:
    encoder = named("encoder", "transformers", model_type=model_type, options={**SMALL, **(options or {})}, folder=None)
    predictor = None
    if corruptor == "drop":
        target = named("target", "ids")
        predictor = named("predictor", "decoder", width=16, depth=1, heads=2, target=target)
    return build(synthetic_recipe(encoder=encoder, corruptor=Component("corruptor", corruptor), predictor=predictor))


def batch_of(built: Built, count: int = 6) -> MaskedBatch:
    return built.pipeline.pack([built.pipeline.sample(Place(0, i, i, 0.0)) for i in built.train_indices[:count].tolist()])


def bare(encoder: Any, embedded: Packed, batch: MaskedBatch, offset: int) -> Any:
    """What the user of transformers would write: padding, its attention mask, and every token's place."""
    stream = batch.views["main"].context
    padded, is_real = dense(embedded)
    places, _ = dense(Packed(stream.positions[:, 0].long(), stream.layout))
    model = copy.deepcopy(encoder.model).eval()
    return model(inputs_embeds=padded, attention_mask=is_real.long(), position_ids=places + offset).last_hidden_state, is_real


@torch.no_grad()
@pytest.mark.parametrize("corruptor", ["mask_token", "drop"])
@pytest.mark.parametrize(("model_type", "offset"), [("bert", 0), ("roberta", 2), ("modernbert", 0)])
def test_features_are_those_of_the_bare_model(model_type: str, offset: int, corruptor: str) -> None:
    made = built(corruptor, model_type)
    batch = batch_of(made)
    stream, encoder = batch.views["main"].context, made.model.eval().each()[0].encoder
    assert len(set(stream.layout.lengths.tolist())) > 1
    embedded = Packed(torch.randn(stream.layout.num_slots, 32, generator=torch.Generator().manual_seed(0)), stream.layout)
    mine = encoder(embedded, stream, batch).features.data
    expected, is_real = bare(encoder, embedded, batch, offset)
    assert (mine - expected[is_real]).norm() <= TOLERANCE * expected[is_real].norm()


@torch.no_grad()
def test_dropped_tokens_leave_the_others_in_their_places() -> None:
    """The features of tokens that are read change when their places do, though their order does not."""
    made = built("drop")
    batch = batch_of(made)
    stream, encoder = batch.views["main"].context, made.model.eval().each()[0].encoder
    embedded = Packed(torch.ones(stream.layout.num_slots, 32), stream.layout)
    starts = np.repeat(stream.layout.offsets[:-1], stream.layout.lengths)
    in_a_row = torch.arange(stream.layout.num_slots) - torch.from_numpy(starts)
    assert (stream.positions[:, 0].long() != in_a_row).any()
    moved = encoder(embedded, _at(stream, in_a_row), batch).features.data
    assert not torch.allclose(encoder(embedded, stream, batch).features.data, moved)


def _at(stream: Any, places: torch.Tensor) -> Any:
    return dataclasses.replace(stream, positions=places[:, None].float())


@torch.no_grad()
def test_taps_are_hidden_states() -> None:
    made = built("mask_token")
    batch = batch_of(made)
    stream, encoder = batch.views["main"].context, made.model.eval().each()[0].encoder
    embedded = Packed(torch.randn(stream.layout.num_slots, 32), stream.layout)
    encoded = encoder(embedded, stream, batch, layers=(1, 2))
    assert torch.equal(encoded.layers[2], encoded.features.data)  # BERT normalises inside its blocks
    assert not torch.equal(encoded.layers[1], encoded.features.data)


def test_a_model_that_goes_by_order_is_found_out_and_refuses_gaps() -> None:
    relative = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": True}
    kinds: Sequence[tuple[str, dict[str, Any], bool]] = [
        ("bert", {}, True),
        ("roberta", {}, True),
        ("electra", {"embedding_size": 32}, True),
        ("modernbert", {}, True),
        ("deberta-v2", relative, False),
        ("convbert", {"embedding_size": 32}, False),
        ("mpnet", {}, False),
        ("roformer", {"embedding_size": 32}, False),
    ]
    for model_type, options, expected in kinds:
        assert goes_by_position_ids(model_from_config(model_type, {**SMALL, **options}), 32) == expected, model_type
    made = built("drop", "deberta-v2", relative)
    with pytest.raises(ValueError, match="needs consecutive tokens"):
        made.model(batch_of(made))


def test_a_folder_gives_its_weights(tmp_path: Path) -> None:
    torch.manual_seed(3)
    peer = transformers.AutoModel.from_config(transformers.BertConfig(**SMALL, vocab_size=11)).eval()
    peer.save_pretrained(tmp_path / "bert")
    encoder = TransformersEncoder(LETTERS, folder=tmp_path / "bert").eval()
    tokens = torch.randn(1, 5, 32)
    with torch.no_grad():
        assert torch.equal(encoder.model(inputs_embeds=tokens).last_hidden_state, peer(inputs_embeds=tokens).last_hidden_state)
    assert not any("word_embeddings" in name or "pooler" in name for name, _ in encoder.named_parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give either model_type"),
        ({"model_type": "bert", "folder": Path("x")}, "give either model_type"),
        ({"model_type": "bart"}, "has a decoder; choose"),
        ({"model_type": "gpt2", "options": {"n_embd": 32, "n_layer": 1, "n_head": 2}}, "is causal"),
        ({"model_type": "bertt"}, "no model type 'bertt'"),
        ({"model_type": "bert", "options": {"hiden_size": 32}}, "has no option 'hiden_size'"),
        ({"model_type": "bert", "options": {"hidden_size": 33, "num_attention_heads": 2}}, "rejects this configuration.*33"),
        ({"model_type": "electra", "options": SMALL}, "set embedding_size: 32"),
        ({"folder": Path("nowhere")}, r"nowhere contains no config\.json;"),
    ],
)
def test_what_cannot_be_an_encoder_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TransformersEncoder(LETTERS, **options)


def test_places_without_an_end_on_two_axes_are_refused() -> None:
    context = Context(specs={"a": TokenSpec(width=(3,), axes=2)}, modalities=("a",))
    with pytest.raises(
        ValueError, match="'a' have 2 unbounded axes, but the model's have one; use a tokenizer with a fixed grid, or an encoder"
    ):
        TransformersEncoder(context, model_type="bert", options=SMALL)


def test_places_beyond_the_table_are_an_error() -> None:
    made = built("mask_token", options={"max_position_embeddings": 4})
    with pytest.raises(ValueError, match=r"the model has 4 positions; raise max_position_embeddings"):
        made.model(batch_of(made))


def test_patches_have_the_numbers_of_their_places_in_the_picture() -> None:
    made = build(load_recipe("adapters/transformers"))
    batch = next(iter(made.validation_batches()))
    stream, encoder = batch.views["main"].context, made.model.each()[0].encoder
    rows, columns = stream.positions[:, :2].long().T
    assert torch.equal(encoder.places(stream), rows * 4 + columns)


def _with_code(folder: Path, ran: Path) -> Path:
    """A folder with the model of a kind that it brings itself; loading it leaves the file ``ran``."""
    model = transformers.BertModel(transformers.BertConfig(**SMALL, vocab_size=8), add_pooling_layer=False)
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "ours", "auto_map": {"AutoConfig": "ours.OursConfig", "AutoModel": "ours.OursModel"}}
    (folder / "config.json").write_text(json.dumps(config))
    source = f"""
from pathlib import Path
from transformers import BertConfig, BertModel

Path({str(ran)!r}).write_text("ran")


class OursConfig(BertConfig):
    model_type = "ours"


class OursModel(BertModel):
    config_class = OursConfig
"""
    (folder / "ours.py").write_text(source)
    return folder


def test_code_in_a_folder_runs_only_where_the_recipe_trusts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked on the terminal"))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    ran = tmp_path / "ran"
    folder = _with_code(tmp_path / "model", ran)
    with pytest.raises(ValueError, match=r"config.json refers to Python code .*ours.OursModel.*trust_remote_code: true"):
        TransformersEncoder(LETTERS, folder=folder)
    assert not ran.exists()
    assert TransformersEncoder(LETTERS, folder=folder, trust_remote_code=True).width == 32
    assert ran.exists()
