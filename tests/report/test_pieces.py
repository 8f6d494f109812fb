"""What tokens add to a text, whatever the tokenizer does when it joins them."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

from omnimask.interfaces import Context, FieldSpec, Tokens, TokenSpec
from omnimask.report.pieces import Speller, as_text
from omnimask.testing.synthetic import Letters


class Joined(Letters):
    """Joins the parts that ids stand for by spaces, but for those that begin with ``##`` and for a full stop; ``n't`` loses the
    space before it only once it is complete; id 0 is special."""

    parts: ClassVar = ["[CLS]", "the", "walk", "##ing", "key", ".", "do", "n", "##'t"]

    @property
    def spec(self) -> TokenSpec:
        return TokenSpec(vocabulary=len(self.parts), fields={"special": FieldSpec("bool")})

    def decode(self, tokens: Tokens) -> Any:
        ids = np.asarray(tokens.content)[~np.asarray(tokens.fields["special"], bool)]
        text = " ".join(self.parts[number] for number in ids.tolist())
        return text.replace(" ##", "").replace(" .", ".").replace(" n't", "n't")


def tokens_of(ids: list[int]) -> Tokens:
    content = np.array(ids)
    return Tokens(content, np.arange(len(ids), dtype=np.float32)[:, None], {"special": content == 0})


def speller(ids: list[int]) -> Speller:
    tokenizer = Joined(Context())
    return Speller(tokens_of(ids), tokenizer, tokenizer.spec)


def test_joined_pieces_are_the_text() -> None:
    assert speller([0, 1, 2, 3, 5]).pieces == ("", "the", " walk", "ing", ".")


def test_a_piece_that_changes_those_before_it_takes_what_it_changes() -> None:
    found = speller([1, 6, 7, 8])
    assert found.pieces == ("the", " do", "", "n't")
    assert "".join(found.pieces) == Joined(Context()).decode(found.tokens)


def test_other_ids_are_spelt_in_a_tokens_place() -> None:
    found = speller([0, 1, 2, 5])
    assert [found.piece(2, number) for number in (4, 3, 5, 2)] == [" key", "ing", ".", " walk"]
    assert found.piece(1, 4) == "key"
    assert found.piece(0, 4) == "key"  # in the place of a special token, which is one no more


def test_bytes_of_one_character() -> None:
    class Bytes(Letters):
        @property
        def spec(self) -> TokenSpec:
            return TokenSpec(vocabulary=256)

        def decode(self, tokens: Tokens) -> Any:
            return bytes(np.asarray(tokens.content).tolist()).decode("utf-8", "replace")

    ids = np.frombuffer("zoë!".encode(), np.uint8).astype(np.int64)
    tokenizer = Bytes(Context())
    tokens = Tokens(ids, np.zeros((len(ids), 1), np.float32))
    assert Speller(tokens, tokenizer, tokenizer.spec).pieces == ("z", "o", "", "ë", "!")


def test_what_is_no_text_is_spelt_by_number() -> None:
    tokenizer = Letters(Context())
    found = Speller(Tokens(np.array([3, 1]), np.zeros((2, 1), np.float32)), tokenizer, tokenizer.spec)
    assert (found.pieces, found.piece(0, 5)) == ((), "5")


@pytest.mark.parametrize(
    ("raw", "text"), [("a", "a"), ("", ""), (["a", "b"], "a\nb"), ([], None), ([1, 2], None), (np.zeros(2), None), (3, None)]
)
def test_raw_values_as_texts(raw: Any, text: str | None) -> None:
    assert as_text(raw) == text
