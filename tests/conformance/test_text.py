"""The text plugin keeps the contracts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from omnimask.interfaces import Context, Decoder, Splits, Tokenizer
from omnimask.testing import BAD_FILES, DecoderContract, PluginContract, RecipeContract, TokenizerContract
from omnimask.testing.requirements import require_value_error
from omnimask_text.decode import Utf8Decoder
from omnimask_text.tokenize.byte import BytesTokenizer
from omnimask_text.tokenize.english import FOLDER, EnglishTokenizer
from omnimask_text.tokenize.huggingface import HuggingFaceTokenizer
from omnimask_text.tokenize.train import Algorithm, files, train

SENTENCES = ["a", "the list is empty.", "a mapping object maps hashable values to arbitrary objects"]
BAD: Mapping[str, Any] = {
    "nothing": None,
    "a number": 3,
    "bytes": b"text",
    "no characters": "",
    "white space": " \n\t\u2003",
    "half of a character": "ab\ud800",
    "no texts": [],
    "a blank one of two": ["a", " "],
    "a list of numbers": [1, 2],
    "an empty mapping": {},
    "too long": "word " * 600,
}


class TestEnglish(TokenizerContract):
    def tokenizer(self) -> Tokenizer:
        return EnglishTokenizer(Context(), max_length=512)

    def raw_values(self) -> Sequence[Any]:
        return [*SENTENCES, ["a", "the list is empty."]]

    def bad_values(self) -> Mapping[str, Any]:
        return {**BAD, "nothing but special tokens": "[CLS] [SEP]"}

    def test_splits(self) -> None:
        assert isinstance(self.tokenizer(), Splits)


class TestUnframed(TestEnglish):
    def tokenizer(self) -> Tokenizer:
        return EnglishTokenizer(Context(), add_special=False)


class TestBytes(TestEnglish):
    def tokenizer(self) -> Tokenizer:
        return BytesTokenizer(Context(), max_length=512)

    def raw_values(self) -> Sequence[Any]:
        return [*super().raw_values(), "Ünïcode, 漢字, 😀!", " blanks \n\n stay "]

    def bad_values(self) -> Mapping[str, Any]:
        return BAD


class TestAnnotated(TokenizerContract):
    def tokenizer(self) -> Tokenizer:
        return EnglishTokenizer(Context(), annotations={"part": ["noun", "verb"], "new": "span", "score": "number"})

    def raw_values(self) -> Sequence[Any]:
        words = [[0, 4, "noun"], [5, 10, "verb"]]
        return [
            {"text": "time flies", "part": words, "new": [[5, 6]], "score": [[0, 10, 0.5]]},
            {"text": "time flies", "part": [], "new": None, "score": [[0, 1, -2]]},
            {"text": ["time flies", "a"], "part": [words, []], "new": [[], [[0, 1]]], "score": None},
        ]

    def bad_values(self) -> Mapping[str, Any]:
        spans: Mapping[str, Any] = {
            "one that leaves the text": [[0, 11, "noun"]],
            "one that begins before it": [[-1, 4, "noun"]],
            "an empty one": [[4, 4, "noun"]],
            "a turned one": [[4, 0, "noun"]],
            "an unknown class": [[0, 4, "adverb"]],
            "no class": [[0, 4]],
            "two that overlap": [[0, 5, "noun"], [4, 10, "verb"]],
            "fractions": [[0.0, 4.5, "noun"]],
            "a text": "0-4",
            "a number": 3,
        }
        bad = {name: {"text": "time flies", "part": part, "new": [], "score": []} for name, part in spans.items()}
        endless = {"text": "time flies", "part": [], "new": [], "score": [[0, 4, float("inf")]]}
        return {**BAD, **bad, "an infinite score": endless, "an annotation is missing": {"text": "time", "new": [], "score": []}}

    def is_same(self, raw: Any, again: Any) -> bool:
        return raw == again if isinstance(again, Mapping) else raw["text"] == again


class TestHuggingFace(TokenizerContract):
    algorithm: Algorithm = "wordpiece"
    vocabulary = 300

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.path = tmp_path
        corpus = [*SENTENCES, (FOLDER / "README.md").read_text(encoding="utf-8")]
        trained = train(lambda: corpus, self.algorithm, self.vocabulary)
        for name, text in files(trained).items():
            (tmp_path / name).write_text(text, encoding="utf-8")

    def tokenizer(self) -> Tokenizer:
        return HuggingFaceTokenizer(Context(), path=str(self.path))

    def raw_values(self) -> Sequence[Any]:
        return SENTENCES

    def bad_values(self) -> Mapping[str, Any]:
        return {**BAD, "nothing but special tokens": "[CLS][SEP]"}

    def is_same(self, raw: Any, again: Any) -> bool:
        return raw.replace(" ", "") == str(again).replace(" ", "")


class TestHuggingFaceBpe(TestHuggingFace):
    algorithm = "bpe"


class TestHuggingFaceUnigram(TestHuggingFace):
    algorithm = "unigram"
    vocabulary = 100


class TestUtf8(DecoderContract):
    def decoder(self) -> Decoder:
        return Utf8Decoder(Context())

    def good_files(self) -> Mapping[str, bytes]:
        return {"ascii": b"text\n" * 9, "utf-8": "Ünïcode, 漢字, 😀!".encode(), "utf-16": "Ünïcode".encode("utf-16")}

    def test_bad_files_are_value_errors(self) -> None:
        """Files that hold text are good ones here, whatever the text says; an empty file is an empty text."""
        decoder, texts = self.decoder(), {"empty", "text", "html", "json"}
        for name, data in BAD_FILES.items():
            if name in texts:
                assert decoder(data) == data.decode()
            else:
                require_value_error(lambda data=data: decoder(data), f"bad file {name!r}")


class TestBiTimeBert(RecipeContract):
    """Three losses, about tokens, units and whole samples, and inputs that grow; without dropout, which changes with a split."""

    overfit_factor = 0.9
    overrides = ("encoder.dropout=0",)

    def recipe(self) -> str:
        return "text/bitimebert"


class TestTextPlugin(PluginContract):
    def plugin(self) -> str:
        return "text"
