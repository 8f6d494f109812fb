"""Continued pretraining with another vocabulary than the checkpoint's: rows are matched by token, and new ones are made."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from omnimask.builder.build import build
from omnimask.recipe import load_recipe
from omnimask_text.tokenize.english import FOLDER
from omnimask_text.weights.vocabulary import write_rows

from .pretrained import built, compare, overrides, peer, refusal, saved, table_and_bias, tokenizer_folder

transformers = pytest.importorskip("transformers")


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
