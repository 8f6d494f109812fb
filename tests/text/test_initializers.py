"""Continued pretraining from folders that `transformers` wrote: the same logits as there, rows of another vocabulary, refusals.

Both compute in float32, in another order of operations: the tolerance is that of the parity tests, 1e-5.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from omnimask.builder.build import Built, build
from omnimask.errors import UserError
from omnimask.recipe import load_recipe
from omnimask_text.tokenize.english import FOLDER
from omnimask_text.tokenize.train import files, train
from omnimask_text.weights.vocabulary import write_rows

transformers = pytest.importorskip("transformers")

TOLERANCE = 1e-5
TEXTS = [
    "The encoder reads the whole sentence, and the head answers for what it did not see.",
    "A mask token stands where a word was hidden.",
    "Weights begin as those of another program, and training continues from there; nothing of them is lost on the way.",
    "Short.",
    "A vocabulary may grow: new words take the mean of their pieces.",
] * 2
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
WIDTHS = ["encoder.width=32", "encoder.depth=3", "encoder.heads=4", "encoder.mlp_width=48"]
LENGTH = 40
IDS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}


def bert(vocabulary: int = 8192, **changes: Any) -> Any:
    settings = {**SIZES, "max_position_embeddings": LENGTH, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=vocabulary, **{**settings, **changes}))


def roberta(vocabulary: int = 8192, **changes: Any) -> Any:
    settings = {**SIZES, "max_position_embeddings": LENGTH + 2, "type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5}
    return transformers.RobertaForMaskedLM(transformers.RobertaConfig(vocab_size=vocabulary, **{**settings, **changes}))


def modernbert(vocabulary: int = 8192, **changes: Any) -> Any:
    settings = {**SIZES, "num_hidden_layers": 4, "local_attention": 8, **IDS}
    return transformers.ModernBertForMaskedLM(transformers.ModernBertConfig(vocab_size=vocabulary, **{**settings, **changes}))


FAMILIES: dict[str, Callable[..., Any]] = {"bert": bert, "roberta": roberta, "modernbert": modernbert}


def peer(family: str, **changes: Any) -> Any:
    """The same weights every time, of a realistic scale: the peers' own initialisation has zero biases."""
    torch.manual_seed(1)
    model = FAMILIES[family](**changes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model.eval()


def saved(family: str, folder: Path, tokenizer: Path | None = FOLDER, **changes: Any) -> Path:
    """A checkpoint with a tokenizer."""
    peer(family, **changes).save_pretrained(folder)
    for file in tokenizer.iterdir() if tokenizer else ():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def tokenizer_folder(folder: Path, algorithm: Any, size: int, texts: Iterable[str] = TEXTS) -> Path:
    folder.mkdir()
    for name, text in files(train(lambda: list(texts), algorithm, size, lowercase=True)).items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number, text in enumerate(TEXTS):
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    return folder


def overrides(family: str, corpus: Path, init: str, tokenizer: str | Path = FOLDER) -> list[str]:
    mine = {
        "bert": [*WIDTHS, f"encoder.position.max_length={LENGTH}"],
        "roberta": [*WIDTHS, f"encoder.position.max_length={LENGTH}"],
        "modernbert": [*WIDTHS[:1], "encoder.depth=4", *WIDTHS[2:], "encoder.window=8", "encoder.position.temperature=160000.0"],
    }
    text = [f"modalities.text.tokenizer.path={tokenizer}", f"modalities.text.tokenizer.max_length={LENGTH}"]
    vocabulary = ["modalities.text.tokenizer.vocabulary=null"] if family == "modernbert" else []
    data = [f"data.path={corpus}", "data.validation=0.3"]
    return [*text, *vocabulary, *data, *mine[family], f"init={{name: text.{family}, {init}}}"]


def built(family: str, corpus: Path, folder: Path, *more: str, init: str = "", tokenizer: str | Path = FOLDER) -> Built:
    given = f"path: {folder}" + (f", {init}" if init else "")
    return build(load_recipe(f"text/{family}", [*overrides(family, corpus, given, tokenizer), *more]))


def table_and_bias(found: Built) -> tuple[torch.Tensor, torch.Tensor]:
    state = found.model.state_dict()
    return state["passes.main.embeddings.text.weight"], state["passes.main.predictors.mlm.heads.text.bias"]


def compare(found: Built, reference: Any) -> None:
    """Logits at the hidden tokens of all held-out texts, each alone in the peer."""
    samples = 0
    for batch in found.validation_batches():
        with torch.no_grad():
            (prediction,) = found.model.eval().predict(batch)["main"].predictions.values()
            mine = prediction.head(prediction.features)
            stream = batch.views["main"].context
            shown = torch.where(stream.literal >= 0, stream.literal, batch.store["text"].data)
            theirs = [reference(input_ids=ids[None]).logits[0] for ids in shown.split(stream.layout.lengths.tolist())]
        expected = torch.cat(theirs)[prediction.targets.at[:, 0]]
        assert mine.shape == expected.shape and (mine - expected).abs().max() <= TOLERANCE * expected.abs().max()
        samples += batch.num_samples
    assert samples > 1


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
    assert torch.equal(found.model.state_dict()["passes.main.encoder.types.weight"], stored)


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


# ---- another vocabulary ---------------------------------------------------------------------------------------------------------


def vocabulary_of(folder: Path) -> dict[str, int]:
    return transformers.AutoTokenizer.from_pretrained(folder).get_vocab()


def test_tokens_take_their_rows_with_them(corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A WordPiece vocabulary of the texts, numbered otherwise: known tokens have their rows, new ones the mean of their pieces."""
    other = tokenizer_folder(tmp_path / "other", "wordpiece", 180)
    folder = saved("bert", tmp_path / "checkpoint")
    with caplog.at_level(logging.INFO, "omnimask_text"):
        found = built("bert", corpus, folder, tokenizer=other)
    table, bias = table_and_bias(found)
    state = load_file(folder / "model.safetensors")
    rows, biases = state["bert.embeddings.word_embeddings.weight"], state["cls.predictions.bias"]
    mine, theirs = vocabulary_of(other), vocabulary_of(FOLDER)
    cut = transformers.AutoTokenizer.from_pretrained(FOLDER)
    assert table.shape == (180, 32) and bias.shape == (180,)
    new = [token for token in mine if token not in theirs]
    assert new and len(new) < len(mine) / 2
    for token, number in mine.items():
        pieces = cut(token.removeprefix("##"), add_special_tokens=False)["input_ids"] if token in new else [theirs[token]]
        assert torch.equal(table[number], rows[pieces].mean(0) if token in new else rows[pieces[0]]), token
        assert torch.equal(bias[number], biases[pieces].mean() if token in new else biases[pieces[0]]), token
    (line,) = [record.getMessage() for record in caplog.records if "vocabulary:" in record.getMessage()]
    assert f"of 180 rows, {180 - len(new)} the checkpoint's, {len(new)} new, the mean of their pieces" in line
    assert line.endswith("the checkpoint has 8,192 rows")


@pytest.mark.parametrize("how", ["mean", "random"])
def test_other_rows_for_new_tokens(how: str, corpus: Path, tmp_path: Path) -> None:
    other = tokenizer_folder(tmp_path / "other", "wordpiece", 180)
    folder = saved("bert", tmp_path / "checkpoint")
    table, bias = table_and_bias(built("bert", corpus, folder, tokenizer=other, init=f"new_rows: {how}"))
    state = load_file(folder / "model.safetensors")
    rows, biases = state["bert.embeddings.word_embeddings.weight"], state["cls.predictions.bias"]
    mine, theirs = vocabulary_of(other), vocabulary_of(FOLDER)
    new = torch.tensor(sorted(number for token, number in mine.items() if token not in theirs))
    fresh = build(load_recipe("text/bert", [*overrides("bert", corpus, "path: x", other)[:-1], "init=null"]))
    expected = rows.mean(0).expand(len(new), -1) if how == "mean" else table_and_bias(fresh)[0][new]
    assert torch.equal(table[new], expected)
    assert torch.equal(bias[new], biases.mean().expand(len(new)) if how == "mean" else torch.zeros(len(new)))
    if how == "random":
        assert 0.015 < table[new].std() < 0.025


def test_rows_from_a_file(corpus: Path, tmp_path: Path) -> None:
    """The file has the last word, on known tokens too; a new token that it lacks is an error that names it."""
    other = tokenizer_folder(tmp_path / "other", "wordpiece", 180)
    folder = saved("bert", tmp_path / "checkpoint")
    mine, theirs = vocabulary_of(other), vocabulary_of(FOLDER)
    new = [token for token in mine if token not in theirs]
    given, path = [*new, "the"], tmp_path / "rows.safetensors"
    rows = torch.randn(len(given), 32)
    write_rows(path, given, rows)
    table, bias = table_and_bias(built("bert", corpus, folder, tokenizer=other, init=f"new_rows: {path}"))
    assert torch.equal(table[[mine[token] for token in given]], rows)
    assert not bias[[mine[token] for token in given]].any()
    state = load_file(folder / "model.safetensors")
    assert torch.equal(table[mine["a"]], state["bert.embeddings.word_embeddings.weight"][theirs["a"]])

    write_rows(path, given, rows, torch.arange(float(len(given))))
    _, bias = table_and_bias(built("bert", corpus, folder, tokenizer=other, init=f"new_rows: {path}"))
    assert bias[mine["the"]] == len(given) - 1
    write_rows(path, new[1:], rows[1:-1])
    message = refusal("bert", corpus, folder, init=f"new_rows: {path}", tokenizer=other)
    assert f"lacks rows of 1 tokens that the checkpoint lacks, too: {new[0]!r}" in message
    write_rows(path, given, rows[:, :8])
    assert "has rows of shape (8,), but the checkpoint's have 32" in refusal(
        "bert", corpus, folder, init=f"new_rows: {path}", tokenizer=other
    )
    save_file({"rows": rows}, path)
    assert "JSON list of the tokens in its" in refusal("bert", corpus, folder, init=f"new_rows: {path}", tokenizer=other)
    assert "must be mean, pieces, random, or a safetensors file" in refusal(
        "bert", corpus, folder, init="new_rows: men", tokenizer=other
    )


@pytest.mark.parametrize(("algorithm", "size"), [("bpe", 300), ("unigram", 70)])
def test_vocabularies_of_other_kinds_are_compared_by_what_tokens_stand_for(
    algorithm: str, size: int, corpus: Path, tmp_path: Path
) -> None:
    """``Ġthe`` and ``▁the`` are WordPiece's ``the``, which begins a word; a token inside a word is ``##s``; special ones by use."""
    other = tokenizer_folder(tmp_path / "other", algorithm, size)
    folder = saved("bert", tmp_path / "checkpoint")
    found = built("bert", corpus, folder, tokenizer=other)
    table, _ = table_and_bias(found)
    rows = load_file(folder / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    mine, theirs = vocabulary_of(other), vocabulary_of(FOLDER)
    space = {"bpe": "Ġ", "unigram": "▁"}[algorithm]
    pairs = {f"{space}the": "the", "s": "##s", ".": ".", "[MASK]": "[MASK]", "[CLS]": "[CLS]"}
    for token, same in pairs.items():
        assert torch.equal(table[mine[token]], rows[theirs[same]]), token


def test_more_rows_than_tokens(corpus: Path, tmp_path: Path) -> None:
    """Published tables are rounded up: rows beyond the recipe's ids are dropped, or kept where the recipe has as many ids."""
    folder = saved("bert", tmp_path / "checkpoint", vocabulary=8200)
    rows = load_file(folder / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    assert torch.equal(table_and_bias(built("bert", corpus, folder))[0], rows[:8192])
    same = built("bert", corpus, folder, "modalities.text.tokenizer.vocabulary=8200")
    assert torch.equal(table_and_bias(same)[0], rows)


def test_a_mask_token_that_the_recipe_appends(corpus: Path, tmp_path: Path) -> None:
    """A tokenizer without one: the corruptor's token takes the row of the checkpoint's, and has no score of its own."""
    other = tokenizer_folder(tmp_path / "other", "wordpiece", 180)
    content = json.loads((other / "tokenizer.json").read_text())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] != "[MASK]"]
    del content["model"]["vocab"]["[MASK]"]
    (other / "tokenizer.json").write_text(json.dumps(content))
    config = json.loads((other / "tokenizer_config.json").read_text())
    del config["mask_token"]
    (other / "tokenizer_config.json").write_text(json.dumps(config))
    folder = saved("bert", tmp_path / "checkpoint")
    found = built("bert", corpus, folder, tokenizer=other)
    table, bias = table_and_bias(found)
    assert found.specs["text"].specials == ("mask",) and len(table) == len(bias) + 1
    rows = load_file(folder / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    assert torch.equal(table[-1], rows[vocabulary_of(FOLDER)["[MASK]"]])


def test_a_tokenizer_elsewhere_and_none(corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = tokenizer_folder(tmp_path / "other", "wordpiece", 180)
    folder = saved("bert", tmp_path / "checkpoint", tokenizer=None)
    found = built("bert", corpus, folder)
    assert "its ids equal the recipe's;" in caplog.text
    compare(found, peer("bert"))
    message = refusal("bert", corpus, folder, tokenizer=other)
    assert "8,192 rows of ids, the recipe 180" in message and "tokenizer: FOLDER" in message
    table, _ = table_and_bias(built("bert", corpus, folder, tokenizer=other, init=f"tokenizer: {FOLDER}"))
    assert len(table) == 180
    byte = ["modalities.text.tokenizer={name: text.bytes, max_length: 40}"]
    message = refusal("bert", corpus, saved("bert", tmp_path / "again"), *byte)
    assert "no named tokens" in message


# ---- refusals -------------------------------------------------------------------------------------------------------------------


def refusal(family: str, corpus: Path, folder: Path, *more: str, init: str = "", tokenizer: str | Path = FOLDER) -> str:
    with pytest.raises(UserError) as info:
        built(family, corpus, folder, *more, init=init, tokenizer=tokenizer)
    return str(info.value)


def test_other_predictors_begin_as_they_were_drawn(corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As of recipes that add an objective to a published model."""
    caplog.set_level("INFO")
    folder = saved("bert", tmp_path / "checkpoint")
    two = ["labels={side: {classes: 2}}", "predictors=[{name: mlm}, {name: sequence, target: {name: label, field: side}}]"]
    found, drawn = (
        built("bert", corpus, folder, *two),
        build(load_recipe("text/bert", [*overrides("bert", corpus, "path: x"), *two]), initialise=False),
    )
    name = "passes.main.predictors.sequence.head.weight"
    assert torch.equal(found.model.state_dict()[name], drawn.model.state_dict()[name])
    plain = built("bert", corpus, folder)
    assert all(torch.equal(found.model.state_dict()[key], value) for key, value in plain.model.state_dict().items())
    assert "predictors sequence start from random weights:" in caplog.text


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
