"""Words that are looked up have the pieces that the whole text has, for every tokenizer that permits it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from omnimask_text.tokenize.english import FOLDER
from omnimask_text.tokenize.subwords import Subwords
from omnimask_text.tokenize.word_table import WordTable, is_by_word

ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEÉéß0123456789.,!?'漢字かσς\u0301"
SPECIAL = ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def english() -> Tokenizer:
    return Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


def made(model: str, normalizer: object, divide: object) -> Tokenizer:
    words = [*SPECIAL, *ALPHABET, *("##" + letter for letter in ALPHABET), "the", "##ing", "12"]
    numbers = {word: number for number, word in enumerate(words)}
    if model == "wordpiece":
        backend = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]", max_input_chars_per_word=20))
    elif model == "bpe":
        backend = Tokenizer(models.BPE({**numbers, "th": len(words)}, [("t", "h")], unk_token="[UNK]"))
    else:
        backend = Tokenizer(models.Unigram([(word, -float(len(word) < 2)) for word in words], unk_id=0))
    backend.normalizer, backend.pre_tokenizer = normalizer, divide
    backend.add_special_tokens(SPECIAL)
    return backend


BACKENDS = {
    "english": english,
    "cased": lambda: made("wordpiece", normalizers.BertNormalizer(lowercase=False), pre_tokenizers.BertPreTokenizer()),
    "bpe": lambda: made("bpe", normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]), pre_tokenizers.Whitespace()),
    "unigram": lambda: made(
        "unigram", normalizers.NFD(), pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Digits(True)])
    ),
    "plain": lambda: made("wordpiece", None, pre_tokenizers.WhitespaceSplit()),
}
PARTS = st.sampled_from(
    [
        *[
            "the",
            "THE",
            "thing",
            "a",
            "é",
            "e\u0301",
            "\u0301",
            "12",
            "漢字",
            "かa漢",
            "[SEP]",
            "[MASK].",
            "x[CLS]y",
            "ΑΣ",
            "ﬁ",
            "¨",
        ],
        *[
            " ",
            " ",
            "  ",
            "\n",
            "\t",
            "\r\n",
            "\x0b",
            "\x0c",
            "\x1c",
            "\x85",
            "\xa0",
            "\u2028",
            "\u3000",
            "\u200b",
            "\x00",
            "\ufffd",
        ],
        *["🙂", "e.g.", "...", "a" * 30, "İ", "ß"],
    ]
)
TEXTS = st.one_of(st.text(max_size=40), st.lists(PARTS, max_size=25).map("".join))


@pytest.mark.parametrize("name", BACKENDS)
@settings(derandomize=True, max_examples=150, deadline=None)
@given(texts=st.lists(TEXTS, max_size=5), most=st.sampled_from([3, 1000]))
@example(texts=["", "The end.\n\n漢字 one", " \u0301a", "a\x1cb a\x85b"], most=2)
def test_words_have_the_pieces_of_the_text(name: str, texts: list[str], most: int) -> None:
    scheme = Subwords(BACKENDS[name]())
    assert scheme._table is not None
    scheme._table = WordTable(scheme._encoded, most)
    for again in (texts, texts[::-1], ["the end", *texts]):
        whole = scheme._encoded(again)
        assert WordTable(scheme._encoded).lengths(again) == [len(each.ids) for each in whole]
        for one, other in zip(whole, scheme.encode_many(again), strict=True):
            np.testing.assert_array_equal(one.ids, other.ids)
            np.testing.assert_array_equal(one.offsets, other.offsets)
            np.testing.assert_array_equal(one.words, other.words)
        ids, sizes = scheme.ids_many(again)
        np.testing.assert_array_equal(ids, np.concatenate([np.zeros(0, np.int64), *(each.ids for each in whole)]))
        assert sizes.tolist() == scheme.lengths(again) == [len(each.ids) for each in whole]
        assert [each.ids for each in scheme._fast(again)] == [each.ids.tolist() for each in whole]


def test_a_full_table_forgets_what_came_last() -> None:
    asked: list[list[str]] = []
    scheme = Subwords(english())

    def encode(words: list[str]) -> list[object]:
        asked.append(list(words))
        return scheme._encoded(words)

    table = WordTable(encode, most_words=3)
    table.ids_many(["one two", "one"])
    table.ids_many(["three four one"])
    table.ids_many(["one two five"])
    table.ids_many(["three"])
    assert asked == [["one", "two"], ["three", "four"], ["five"], ["three"]]
    assert table.ids_many(["one two three"])[0].tolist() == english().encode("one two three", add_special_tokens=False).ids


def test_a_copied_scheme_begins_with_an_empty_table() -> None:
    scheme = Subwords(english())
    ids, sizes = scheme.ids_many(["one two"])
    again = copy.deepcopy(scheme)
    assert not again._table._rows
    found, lengths = again.ids_many(["one two"])
    assert found.tolist() == ids.tolist() and lengths.tolist() == sizes.tolist()


def test_tokenizers_that_look_across_white_space_are_encoded_as_a_whole() -> None:
    bert, split = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    assert is_by_word(made("wordpiece", bert, split))
    assert not is_by_word(made("wordpiece", bert, None))
    assert not is_by_word(made("bpe", None, pre_tokenizers.ByteLevel()))
    assert not is_by_word(made("unigram", None, pre_tokenizers.Metaspace()))
    assert not is_by_word(made("bpe", None, pre_tokenizers.Punctuation()))
    assert not is_by_word(made("wordpiece", normalizers.Replace(" ", ""), split))
    assert not is_by_word(made("wordpiece", normalizers.Sequence([normalizers.NFC(), normalizers.Prepend("_")]), split))
    for token in (AddedToken("two words"), AddedToken("left", lstrip=True), AddedToken("right", rstrip=True)):
        backend = made("wordpiece", bert, split)
        backend.add_tokens([token])
        assert not is_by_word(backend)
