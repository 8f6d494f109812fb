"""Frames of tokenizers as people build them, id by id as `transformers` reads them, and again after an export."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from omnimask.interfaces import Context, Draw
from omnimask_text.tokenize import tokenizer as tokenizer_module
from omnimask_text.tokenize.huggingface import HuggingFaceTokenizer
from omnimask_text.weights.hf_tokenizer import peer_tokenizer

transformers = pytest.importorskip("transformers")

DRAW = Draw(0, 0, "text")
NAMES = ("[CLS]", "[SEP]", "[MASK]", "[PAD]")
LETTERS = "ACGT"
Tokens = tuple[str, ...]


def _finished(model: Any, *, single: str, pair: str | None = None, names: Tokens = NAMES) -> Tokenizer:
    """A tokenizer with a template; special tokens are those of the model's vocabulary that ``names`` lists."""
    tokenizer = Tokenizer(model)
    known = [name for name in names if tokenizer.token_to_id(name) is not None]
    tokenizer.add_special_tokens(known)
    numbered: Any = [(name, tokenizer.token_to_id(name)) for name in known]
    template = {"single": single} | ({} if pair is None else {"pair": pair})
    tokenizer.post_processor = processors.TemplateProcessing(**template, special_tokens=numbered)
    return tokenizer


def _words(*, single: str, pair: str | None = None) -> Tokenizer:
    vocabulary = ["[UNK]", *NAMES, "the", "cat", "sat"]
    model = models.WordLevel({word: number for number, word in enumerate(vocabulary)}, unk_token="[UNK]")
    tokenizer = _finished(model, single=single, pair=pair)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def _dna() -> Tokenizer:
    vocabulary = {name: number for number, name in enumerate([*NAMES, *LETTERS, "AC"])}
    model = models.BPE(vocab=vocabulary, merges=[("A", "C")])
    return _finished(model, single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]")


def _byte_level() -> Tokenizer:
    """Its template stands in a sequence of post-processors, as GPT-like tokenizers have it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    model = models.BPE(vocab={name: number for number, name in enumerate([*NAMES, *alphabet])}, merges=[])
    tokenizer = _finished(model, single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]")
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), tokenizer.post_processor])
    return tokenizer


def _unigram() -> Tokenizer:
    pieces = [("<unk>", 0.0), *((name, 0.0) for name in NAMES), ("▁", -2.0), *((letter, -3.0) for letter in "bcd")]
    tokenizer = _finished(models.Unigram(pieces, unk_id=0), single="$A [SEP]", pair="$A [SEP] $B [SEP]")
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return tokenizer


def _wordpiece(*, lowercase: bool = False) -> Tokenizer:
    vocabulary = {name: number for number, name in enumerate([*NAMES, "b", "##b", "c", "##c"])}
    tokenizer = _finished(models.WordPiece(vocabulary), single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]")
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    return tokenizer


def _roberta() -> Tokenizer:
    tokenizer = _byte_level()
    tokenizer.post_processor = processors.RobertaProcessing(("[SEP]", 1), ("[CLS]", 0))
    return tokenizer


TABLE: dict[str, tuple[Callable[[], Tokenizer], list[str]]] = {
    "no template for pairs": (lambda: _words(single="[CLS] $A [SEP]"), ["the cat", "sat the"]),
    "letters of DNA": (_dna, ["ACGT", "TT"]),
    "byte-level": (_byte_level, ["the é cat", "漢 sat"]),
    "two separators between": (_roberta, ["the cat", "sat"]),
    "prefix alone": (lambda: _words(single="[CLS] $A", pair="[CLS] $A $B"), ["the cat", "sat"]),
    "suffix alone": (lambda: _words(single="$A [SEP]", pair="$A [SEP] $B [SEP]"), ["the cat", "sat"]),
    "no frame": (lambda: _words(single="$A"), ["the cat", "sat"]),
    "a frame around pairs alone": (lambda: _words(single="$A", pair="[CLS] $A [SEP] $B"), ["the cat", "sat"]),
    "two before, and another frame of pairs": (
        lambda: _words(single="[CLS] [SEP] $A", pair="[CLS] $A [SEP] [SEP] $B [SEP] [SEP]"),
        ["the cat", "sat"],
    ),
    "unigram": (_unigram, ["bcd x", "d"]),
    "WordPiece without an unknown token": (_wordpiece, ["bcb c", "bb"]),
    "small letters": (lambda: _wordpiece(lowercase=True), ["BCb c", "BB"]),
}


def _exported(tokenizer: Any) -> Any:
    return peer_tokenizer(tokenizer, tokenizer.spec, ["input_ids", "attention_mask"])


def _saved(tokenizer: Tokenizer, folder: Path) -> Path:
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", TABLE)
def test_ids_are_those_of_transformers_and_stay_so_in_an_export(name: str, tmp_path: Path) -> None:
    make, texts = TABLE[name]
    folder = _saved(make(), tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    for path in (folder, folder / "tokenizer.json"):
        ours = HuggingFaceTokenizer(Context(), path=str(path))
        exported = _exported(ours)
        for raw in ([texts[0]], [texts[1]], texts):
            expected = theirs(*raw)["input_ids"]
            tokens = ours(raw, DRAW)
            assert tokens.content.tolist() == expected == exported(*raw)["input_ids"]
            assert tokens.fields["special"].sum() == len(expected) - sum(ours.scheme.lengths(raw)) == ours.frame.size(len(raw))
            assert ours.count(raw) == len(expected)


@pytest.mark.parametrize("name", TABLE)
def test_a_recipe_without_frames_exports_none(name: str, tmp_path: Path) -> None:
    make, texts = TABLE[name]
    ours = HuggingFaceTokenizer(Context(), path=str(_saved(make(), tmp_path)), add_special=False)
    exported = _exported(ours)
    for raw in ([texts[0]], texts):
        assert ours(raw, DRAW).content.tolist() == exported(*raw)["input_ids"]
        assert not ours(raw, DRAW).fields["special"].any()


def test_parts_of_a_long_text_have_the_frame_of_one_text(tmp_path: Path) -> None:
    tokenizer = HuggingFaceTokenizer(
        Context(), path=str(_saved(TABLE["two before, and another frame of pairs"][0](), tmp_path)), max_length=6
    )
    text = "the cat sat " * 5
    for start, stop, size in tokenizer.split(text):
        assert tokenizer(tokenizer.part(text, start, stop), DRAW).content[:2].tolist() == [1, 2]
        assert size <= 6


def test_a_template_that_turns_pairs_round_is_read_for_single_texts_alone(tmp_path: Path) -> None:
    tokenizer = HuggingFaceTokenizer(
        Context(), path=str(_saved(_words(single="[CLS] $A [SEP]", pair="[CLS] $B [SEP] $A [SEP]"), tmp_path))
    )
    assert tokenizer("the cat", DRAW).content.tolist() == [1, 5, 6, 2]
    with pytest.raises(ValueError, match="has a pair template that reorders or repeats texts"):
        tokenizer(["the", "cat"], DRAW)


@pytest.mark.parametrize(
    ("single", "message"),
    [("[CLS] $A $A", "splits or repeats a text;"), ("[CLS]", "can be encoded: .* or its post_processor drops the text")],
)
def test_a_template_that_does_not_keep_a_text_is_refused(single: str, message: str, tmp_path: Path) -> None:
    folder = _saved(_words(single=single, pair="$A $B"), tmp_path)
    with pytest.raises(ValueError, match=message):
        HuggingFaceTokenizer(Context(), path=str(folder))


def test_several_texts_without_a_template_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer_module._warn_unframed.cache_clear()
    tokenizer = HuggingFaceTokenizer(Context(), path=str(_saved(_words(single="[CLS] $A [SEP]"), tmp_path)))
    tokenizer("the cat", DRAW)
    assert "template for pairs" not in caplog.text
    tokenizer(["the cat", "sat"], DRAW)
    assert "pair template of the tokenizer has no special tokens," in caplog.text
