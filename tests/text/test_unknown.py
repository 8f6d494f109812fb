"""Characters that a tokenizer has no piece for: an error of the sample, never a loss; and words of scripts without spaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from omnimask.interfaces import Context
from omnimask_text.tokenize.byte import BytesTokenizer
from omnimask_text.tokenize.characters import word_numbers
from omnimask_text.tokenize.english import EnglishTokenizer
from omnimask_text.tokenize.huggingface import HuggingFaceTokenizer
from omnimask_text.tokenize.subwords import Subwords
from omnimask_text.tokenize.train import train

LETTERS = {letter: number for number, letter in enumerate("ACGT")}


def _scheme(model: Any, **steps: Any) -> Subwords:
    backend = Tokenizer(model)
    for name, step in steps.items():
        setattr(backend, name, step)
    backend.add_special_tokens(["[MASK]"])
    return Subwords(backend)


def _bpe(**options: Any) -> models.BPE:
    return models.BPE(vocab={**LETTERS, **options.pop("vocabulary", {})}, merges=[], **options)


@pytest.mark.parametrize(
    "scheme",
    [
        _scheme(_bpe()),
        _scheme(_bpe(), pre_tokenizer=pre_tokenizers.Whitespace()),
        _scheme(models.WordLevel(LETTERS), pre_tokenizer=pre_tokenizers.Split("", "isolated")),
        _scheme(models.WordPiece({**LETTERS, **{f"##{letter}": 4 + n for letter, n in LETTERS.items()}})),
        _scheme(models.Unigram([(letter, -1.0) for letter in LETTERS], None)),
    ],
    ids=["BPE", "BPE with words", "WordLevel", "WordPiece", "unigram"],
)
def test_text_without_a_piece_is_an_error_of_the_sample(scheme: Subwords) -> None:
    assert scheme.lengths(["ACGT"]) == [4]
    for text in ("ACGt", "acgt", "AC猫GT"):
        for use in (scheme.encode, lambda text: scheme.lengths(["ACGT", text])):
            with pytest.raises(ValueError, match="add an unknown token"):
                use(text)


def test_lost_characters_are_counted_and_named() -> None:
    with pytest.raises(ValueError, match="4 of 9 characters would be lost: the tokenizer has no token for 'a', 'c', 'N',"):
        _scheme(_bpe()).encode("ACGTaa cN")


@pytest.mark.parametrize(
    ("scheme", "text"),
    [
        (_scheme(_bpe(), normalizer=normalizers.Sequence([normalizers.Replace("t", "T"), normalizers.Replace("x", "")])), "tAxxC"),
        (_scheme(_bpe()), "AC GT\n[MASK]A"),
        (_scheme(_bpe(vocabulary={"?": 4}, unk_token="?")), "ACxGT"),
        (_scheme(_bpe(), pre_tokenizer=pre_tokenizers.Split("-", "removed")), "AC-GT"),
        (_scheme(_bpe(vocabulary={f"<0x{byte:02X}>": 4 + byte for byte in range(256)}, byte_fallback=True)), "AC猫"),
        (_scheme(train(lambda: ["a few words"], "bpe", 261).model, pre_tokenizer=pre_tokenizers.ByteLevel()), "猫 é"),
    ],
    ids=["normalizer", "white space and added tokens", "unknown token", "removed by rule", "byte fallback", "byte-level"],
)
def test_what_is_known_or_removed_by_rule_is_no_loss(scheme: Subwords, text: str) -> None:
    assert len(scheme.encode(text).ids) == scheme.lengths([text])[0] > 0


def test_prefixes_and_suffixes_of_a_byte_pair_model() -> None:
    vocabulary = {name: number for number, name in enumerate(["A", "##C", "##G</w>"])}
    scheme = _scheme(models.BPE(vocab=vocabulary, merges=[], continuing_subword_prefix="##", end_of_word_suffix="</w>"))
    assert scheme.encode("ACG").ids.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="no token for 'T',"):
        scheme.encode("ACT")


CHINESE = "今天天气很好，我们去公园。Tom said hi"


@pytest.mark.parametrize(
    "encode",
    [
        EnglishTokenizer(Context()).scheme.encode,
        BytesTokenizer(Context()).scheme.encode,
        Subwords(train(lambda: [CHINESE], "bpe", 262)).encode,
    ],
    ids=["wordpiece", "bytes", "byte-level"],
)
def test_a_chinese_character_is_a_word_of_its_own(encode: Any) -> None:
    pieces = encode(CHINESE)
    words = pieces.words[pieces.words >= 0]
    assert set(np.diff(words)) <= {0, 1} and words[0] == 0
    for number in range(words.max() + 1):
        spans = pieces.offsets[pieces.words == number]
        text = CHINESE[spans[:, 0].min() : spans[:, 1].max()]
        if "\u4e00" <= text[0] <= "\u9fff":
            assert len(text) == 1
    last = pieces.words[-1]
    assert CHINESE[pieces.offsets[pieces.words == last][0, 0] :].strip() == "hi"


def test_words_by_signs() -> None:
    text = "東京タワー abc한국어"
    starts = np.arange(len(text))
    assert word_numbers(text, np.stack((starts, starts + 1), 1)).tolist() == [0, 1, 2, 3, 4, 5, 5, 5, 5, 5, 5, 5]


def test_a_tokenizer_that_divides_by_a_rule_of_its_own_has_its_words(tmp_path: Path) -> None:
    """Codons: no word of a language is divided by the rule, so that a probe of another language would miss it."""
    backend = Tokenizer(_bpe())
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("[ACGT]{3}"), "isolated")
    backend.save(str(tmp_path / "tokenizer.json"))
    scheme = HuggingFaceTokenizer(Context(), path=str(tmp_path / "tokenizer.json")).scheme
    assert scheme.encode("ACGTTT").words.tolist() == [0, 0, 0, 1, 1, 1]
