"""``omnimask init`` of folders with masked language models: the recipe that fits, or all that does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from omnimask.builder.build import Built, build
from omnimask.cli import main
from omnimask.recipe import load_recipe
from omnimask.run.prepare import start
from omnimask_text.tokenize.train import files, train

transformers = pytest.importorskip("transformers")

TEXTS = [f"the {a} sat on the {b} while rain fell over {c} hills" for a in ("cat", "dog") for b in ("mat", "rug") for c in "pq"]
SIZES = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40, "hidden_size": 24}
SHORT = ["train.steps=2", "train.batch_tokens=64", "train.validate_every=2", "train.checkpoint_every=2", "device=cpu"]


def bert(rows: int, **changes: Any) -> Any:
    settings = {**SIZES, "max_position_embeddings": 20, "hidden_dropout_prob": 0.0}
    return transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=rows, **{**settings, **changes}))


def roberta(rows: int, **changes: Any) -> Any:
    settings = {**SIZES, "max_position_embeddings": 22, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "hidden_dropout_prob": 0.0}
    return transformers.RobertaForMaskedLM(transformers.RobertaConfig(vocab_size=rows, pad_token_id=1, **{**settings, **changes}))


def modernbert(rows: int, **changes: Any) -> Any:
    ids = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    settings = {**SIZES, **ids, "num_hidden_layers": 4, "local_attention": 6, "max_position_embeddings": 32}
    return transformers.ModernBertForMaskedLM(transformers.ModernBertConfig(vocab_size=rows, **{**settings, **changes}))


FAMILIES: dict[str, Callable[..., Any]] = {"bert": bert, "roberta": roberta, "modernbert": modernbert}


@pytest.fixture(scope="module")
def tokenizer() -> dict[str, str]:
    """Files of a tokenizer of a few lines."""
    return dict(files(train(lambda: list(TEXTS), "wordpiece", 60, lowercase=True)))


def saved(family: str, folder: Path, tokenizer: dict[str, str], **changes: Any) -> Any:
    """A model of random weights with its tokenizer in a folder; more rows than ids, as published ones have."""
    folder.mkdir()
    for name, text in tokenizer.items():
        (folder / name).write_text(text, encoding="utf-8")
    torch.manual_seed(3)
    model = FAMILIES[family](len(transformers.AutoTokenizer.from_pretrained(folder)) + 4, **changes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return model.eval()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number, text in enumerate(TEXTS):
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    return folder


def losses(built: Built, reference: Any) -> tuple[float, float]:
    """Ours, and the reference's ``MaskedLMOutput.loss`` on the same masked inputs: sums over all held-out texts."""
    mine, theirs, count = 0.0, 0.0, 0
    for batch in built.validation_batches():
        stream = batch.views["main"].context
        with torch.no_grad():
            mine += built.model.eval()(batch).loss.item() * batch.num_samples
            shown = torch.where(stream.literal >= 0, stream.literal, batch.store["text"].data)
            (prediction,) = built.model.predict(batch)["main"].predictions.values()
            labels = torch.full_like(shown, -100)
            labels[prediction.targets.at[:, 0]] = batch.store["text"].data[prediction.targets.of]
            lengths = stream.layout.lengths.tolist()
            parts = zip(shown.split(lengths), labels.split(lengths), strict=True)
            sums = [
                reference(input_ids=x[None], labels=y[None]).loss.item() * int((y >= 0).sum()) for x, y in parts if (y >= 0).any()
            ]
            asked = int((labels >= 0).sum())
        theirs += sum(sums) / asked * batch.num_samples
        count += batch.num_samples
    assert count > 1
    return mine / count, theirs / count


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("bert", {}),
        ("bert", {"type_vocab_size": 3, "layer_norm_eps": 1e-6, "hidden_size": 16}),
        ("roberta", {}),
        ("modernbert", {}),
        ("modernbert", {"layer_types": ["full_attention", "sliding_attention"] * 2, "local_attention": 4}),
        ("modernbert", {"layer_types": ["full_attention"] * 4, "norm_eps": 1e-6}),
    ],
)
def test_the_recipe_begins_with_the_models_loss(
    family: str, changes: dict[str, Any], corpus: Path, tokenizer: dict[str, str], tmp_path: Path
) -> None:
    model = saved(family, tmp_path / "a model", tokenizer, **changes)
    assert main(["init", str(tmp_path / "a model"), "-o", str(tmp_path / "recipe.yaml")]) == 0
    recipe = load_recipe(tmp_path / "recipe.yaml", [f"data.path={corpus}", "data.validation=0.4", *SHORT])
    mine, expected = losses(build(recipe), model)
    assert mine == pytest.approx(expected, rel=1e-5)
    fresh, _ = losses(build(recipe, initialise=False), model)
    assert fresh != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_recipe_trains(
    family: str, corpus: Path, tokenizer: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """And goes back to `transformers`, which writes nothing to the terminal on the way."""
    saved(family, tmp_path / "model", tokenizer)
    capfd.readouterr()
    assert main(["init", str(tmp_path / "model"), "-o", str(tmp_path / "recipe.yaml")]) == 0
    said = capfd.readouterr().err
    assert "recipe.yaml data.path=FOLDER" in said and "it/s" not in said and len(said.strip().splitlines()) == 3
    assert start(load_recipe(tmp_path / "recipe.yaml", [f"data.path={corpus}", *SHORT]), tmp_path / "run", show=False).trainer.fit()
    capfd.readouterr()
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "out"), "--to", "transformers"]) == 0
    said = capfd.readouterr().err
    assert "it/s" not in said and "%|" not in said and "read back" in said
    assert load_recipe(tmp_path / "recipe.yaml", smoke=True).init is None
    if family == "bert":
        assert main(["pretrain", str(tmp_path / "recipe.yaml"), "--smoke", "device=cpu", "train.steps=2"]) == 0


def refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["init", str(folder), "-o", str(folder.parent / "r.yaml")]) == 2
    assert not (folder.parent / "r.yaml").exists()
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return " ".join(message.split())


def change(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_all_that_has_no_counterpart_is_named_at_once(
    tokenizer: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved("bert", tmp_path / "bert", tokenizer)
    change(tmp_path / "bert", hidden_act="relu", is_decoder=True, add_cross_attention=True)
    message = refused(tmp_path / "bert", capsys)
    for said in ("hidden_act: 'relu'", "is_decoder: True", "add_cross_attention: True", "encoder={name: transformers, folder:"):
        assert said in message
    saved("modernbert", tmp_path / "modern", tokenizer)
    kinds = ["sliding_attention", "full_attention", "full_attention", "sliding_attention"]
    change(tmp_path / "modern", layer_types=kinds, local_attention=7, mlp_bias=True, rope_scaling={"factor": 2})
    message = refused(tmp_path / "modern", capsys)
    for said in ("full attention in blocks 1, 2", "local_attention: 7", "mlp_bias: True", "rope_scaling"):
        assert said in message


def test_damaged_folders(tokenizer: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "bert"
    saved("bert", folder, tokenizer)
    config, weights = (folder / "config.json").read_text(), folder / "model.safetensors"
    (folder / "config.json").write_text(config[:50])
    assert "contains model.safetensors, but its config.json cannot be read" in refused(folder, capsys)
    (folder / "config.json").unlink()
    assert "contains model.safetensors, but its config.json cannot be read" in refused(folder, capsys)
    (folder / "config.json").write_text(config)
    change(folder, hidden_size="wide", num_hidden_layers=-1)
    message = refused(folder, capsys)
    assert "hidden_size: 'wide'" in message and "num_hidden_layers: -1" in message
    (folder / "config.json").write_text(config)
    change(folder, num_hidden_layers=3, intermediate_size=44)
    message = refused(folder, capsys)
    assert "missing: bert.encoder.layer.2" in message and "intermediate.dense.weight is [40, 24], not [44, 24]" in message
    change(folder, num_hidden_layers=1, intermediate_size=40)
    assert "unexpected: bert.encoder.layer.1" in refused(folder, capsys)
    (folder / "config.json").write_text(config)
    stored = weights.read_bytes()
    weights.write_bytes(stored[:200])
    assert "model.safetensors cannot be read" in refused(folder, capsys)
    weights.unlink()
    assert "contains no model.safetensors" in refused(folder, capsys)
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    assert "pickled weights can run arbitrary code and are not read" in refused(folder, capsys)
    weights.write_bytes(stored)
    for name in tokenizer:
        (folder / name).unlink()
    assert "save the model's tokenizer in the same folder" in refused(folder, capsys)


def test_models_that_no_initializer_reads(tokenizer: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its ``vocab.txt`` is no corpus."""
    folder = tmp_path / "other"
    saved("bert", folder, tokenizer)
    change(folder, model_type="gpt2")
    (folder / "vocab.txt").write_text("a\n" * 100)
    assert "which contains a model of type 'gpt2'" in refused(folder, capsys)
    bare = transformers.BertModel(transformers.BertConfig(vocab_size=64, **SIZES))
    bare.save_pretrained(folder)
    assert "missing: bert.embeddings.LayerNorm.bias" in refused(folder, capsys)


def test_several_differences_are_named_at_once_with_the_remedy(
    corpus: Path, tokenizer: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, recipe = tmp_path / "model", tmp_path / "recipe.yaml"
    saved("bert", folder, tokenizer)
    assert main(["init", str(folder), "-o", str(recipe)]) == 0
    changes = ["encoder.width=32", "encoder.depth=3", "encoder.heads=4", "encoder.position.max_length=64"]
    assert main(["pretrain", str(recipe), f"data.path={corpus}", *changes, *SHORT, "--run", str(tmp_path / "run")]) == 2
    message = " ".join(capsys.readouterr().err.split())
    for said in ("hidden_size is 24 in", "num_hidden_layers is 2", "num_attention_heads is 2", "max_position_embeddings is 20"):
        assert said in message
    assert f"`omnimask init {folder}` writes a matching recipe" in message
    assert main(["pretrain", str(recipe), f"data.path={corpus}", "encoder.position={name: rotary}", *SHORT]) == 2
    assert f"`omnimask init {folder}` writes a matching recipe" in " ".join(capsys.readouterr().err.split())
