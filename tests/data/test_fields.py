"""Raw values from one field or several: what is there, what is missing, what is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omnimask.data.fields import decoded, names_of, raw_value
from omnimask.data.pipeline import ModalityPipeline
from omnimask.data.token_counts import token_counts
from omnimask.interfaces import Context, Draw, Tokens, TokenSpec
from omnimask.testing.synthetic import Letters

SAMPLE = {"text": b"ab", "entity": [[0, 1]], "note": None, "label": 3}


def decode(data: bytes) -> str:
    return data.decode()


def test_one_field_is_its_value_and_several_are_a_mapping_in_their_order() -> None:
    assert raw_value(SAMPLE, "text") == b"ab"
    assert raw_value(SAMPLE, "gone") is None
    found = raw_value(SAMPLE, ("text", "note", "entity"))
    assert list(found.items()) == [("text", b"ab"), ("note", None), ("entity", [[0, 1]])]
    assert raw_value(SAMPLE, ("label",)) == {"label": 3}
    assert names_of("text") == ("text",)
    assert names_of(("text", "note")) == ("text", "note")


def test_without_the_main_field_there_is_no_value_and_another_that_is_missing_is_named() -> None:
    assert raw_value(SAMPLE, ("gone", "text")) is None
    assert raw_value(SAMPLE, ("note", "text")) is None
    with pytest.raises(ValueError, match=r"no field 'entities' beside 'text'; it has \['entity', 'label', 'note', 'text'\]"):
        raw_value(SAMPLE, ("text", "entities"))


def test_what_is_bytes_is_decoded() -> None:
    assert decoded(b"ab", decode) == "ab"
    assert decoded({"text": b"ab", "entity": [1]}, decode) == {"text": "ab", "entity": [1]}
    assert decoded([b"ab"], decode) == [b"ab"]
    assert decoded(b"ab", None) == b"ab"


class Marked(Letters):
    """Letters with a mark each."""

    @property
    def spec(self) -> TokenSpec:
        return TokenSpec(vocabulary=256)

    def __call__(self, raw: Any, draw: Draw) -> Tokens:
        return super().__call__([ord(letter) + mark for letter, mark in zip(raw["text"], raw["mark"], strict=True)], draw)

    def count(self, raw: Any) -> int | None:
        return None if raw is None else len(raw["text"])


class Rows:
    def __len__(self) -> int:
        return 2

    def key(self, index: int) -> str:
        return str(index)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"text": b"abc", "mark": [0, 1, 2]} if index == 0 else {"text": b"abc"}

    def fingerprint(self) -> str:
        return "rows"


def test_the_tokenizer_gets_the_mapping_and_so_does_the_count(tmp_path: Path) -> None:
    part = ModalityPipeline(("text", "mark"), Marked(Context()), decode)
    tokens = part(raw_value(Rows()[0], part.field), Draw(0, 0, "0"))
    assert np.asarray(tokens.content).tolist() == [97, 99, 101]
    counts = token_counts(Rows(), [part], cache=tmp_path)
    assert np.array_equal(counts, [3, 1])
