"""Transforms of groups of texts keep the contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from omnimask.interfaces import Context, FieldSpec, Tokenizer, Tokens, Transform
from omnimask.testing import RecipeContract, TransformContract
from omnimask_text.groups.span_pairs import Objective, SpanPairs
from omnimask_text.groups.word_sets import WordSets
from omnimask_text.tokenize.byte import BytesTokenizer
from omnimask_text.tokenize.english import EnglishTokenizer

WORDS = ["list", "value", "object", "name", "class", "module", "function", "argument", "string", "number", "file", "path", "error"]


def document(number: int, paragraphs: int) -> str:
    rng = np.random.default_rng(number)
    sentences = [" ".join(rng.choice(WORDS, rng.integers(3, 12))).capitalize() + "." for _ in range(4 * paragraphs)]
    return "\n\n".join(" ".join(sentences[4 * part : 4 * part + 1 + part % 4]) for part in range(paragraphs))


TEXTS = [document(number, paragraphs) for number, paragraphs in enumerate((1, 2, 5, 8, 3, 6))]


class Corpus:
    """Of the texts above."""

    def __iter__(self) -> Iterator[Tokens]:
        raise AssertionError

    def raw(self) -> Iterator[Any]:
        return iter(TEXTS)

    def fingerprint(self) -> str:
        return "texts of the contract"


class TestSpansOfAParagraph(TransformContract):
    objective: Objective = "same_paragraph"

    def context(self) -> Context:
        return Context(modalities=("text",), labels=self.labels(), corpora={"text": Corpus()})

    def transform(self) -> Transform:
        return SpanPairs(self.context(), sets="label", objective=self.objective)

    def rows(self) -> Sequence[Mapping[str, Any]]:
        return [{"text": text} for text in TEXTS]

    def tokenizers(self) -> Mapping[str, Tokenizer]:
        tokenizer: Any = EnglishTokenizer(Context(), max_length=64)
        return {"text": tokenizer}

    def labels(self) -> Mapping[str, FieldSpec]:
        return {"label": FieldSpec("int64", arity=0, classes=2)}

    def bad_groups(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        annotated = {"text": {"text": TEXTS[0], "noun": [[0, 4]]}}
        return {"annotations": [annotated, {"text": TEXTS[1]}], "several texts": [{"text": TEXTS[:2]}], "a number": [{"text": 3}]}


class TestSpansInAParagraph(TestSpansOfAParagraph):
    objective = "in_paragraph"

    def tokenizers(self) -> Mapping[str, Tokenizer]:
        tokenizer: Any = BytesTokenizer(Context(), max_length=512)
        return {"text": tokenizer}


class TestParagraphsOfADocument(TestSpansOfAParagraph):
    objective = "same_document"


class TestWordSets(TestSpansOfAParagraph):
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OMNIMASK_CACHE", str(tmp_path))

    def transform(self) -> Transform:
        return WordSets(self.context(), sets="label", min_count=2, min_words=16)

    def rows(self) -> Sequence[Mapping[str, Any]]:
        return super().rows()[2:4]

    def labels(self) -> Mapping[str, FieldSpec]:
        return {"label": FieldSpec("float32", arity=0)}


class TestSpanOrigin(RecipeContract):
    """Without dropout, which has each batch computed otherwise."""

    num_samples = 12
    overrides = ("encoder.dropout=0",)

    def recipe(self) -> str:
        return "text/span-origin"


class TestProp(RecipeContract):
    overrides = ("encoder.dropout=0",)

    def recipe(self) -> str:
        return "text/prop"
