"""Texts that became too long on the way are cut down so that each keeps something."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnimask.interfaces import Context, Draw, Shortens
from omnimask_text.tokenize.byte import BytesTokenizer
from omnimask_text.tokenize.cut import shares
from omnimask_text.tokenize.english import EnglishTokenizer

DRAW = Draw(0, 0, "sample")
LONG = "The list is empty. A mapping object maps values to objects.\n\nIt has keys. " * 4


@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(1, 120))
def test_the_longest_give_way_first(lengths: list[int], room: int) -> None:
    if room < len(lengths):
        with pytest.raises(ValueError, match=rf"{len(lengths)} texts do not fit in {room} tokens; raise max_length"):
            shares(lengths, room)
        return
    found = shares(lengths, room)
    assert sum(found) <= room
    assert sum(found) == min(room, sum(lengths))
    assert all(1 <= share <= length for share, length in zip(found, lengths, strict=True))
    cut = [share for share, length in zip(found, lengths, strict=True) if share < length]
    assert not cut or max(found) <= min(cut) + 1  # nobody keeps more than one that had to give way


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 60), st.integers(0, 250), st.integers(8, 40))
def test_several_texts_fit_and_none_is_lost(first: int, second: int, max_length: int) -> None:
    for tokenizer in (EnglishTokenizer(Context(), max_length=max_length), BytesTokenizer(Context(), max_length=max_length)):
        assert isinstance(tokenizer, Shortens)
        texts = [LONG[: first + 2], LONG[second:]]
        short = tokenizer.shorten(texts)
        assert len(short) == 2
        assert short[0] in texts[0] and short[1] in texts[1]
        assert len(tokenizer(short, DRAW)) <= max_length
        assert tokenizer.shorten(short) == short


def test_the_short_text_stays_whole() -> None:
    tokenizer = EnglishTokenizer(Context(), max_length=21)
    short = tokenizer.shorten(["keys and values", LONG])
    assert short[0] == "keys and values"
    assert short[1] == "The list is empty. A mapping object maps values to objects."
    assert len(tokenizer(short, DRAW)) <= 21


def test_one_text_keeps_its_first_part() -> None:
    tokenizer = EnglishTokenizer(Context(), max_length=20)
    assert tokenizer.shorten(LONG) == "The list is empty. A mapping object maps values to objects.\n\nIt has keys."
    assert tokenizer.shorten("keys") == "keys"


def test_annotated_spans_come_along() -> None:
    tokenizer = EnglishTokenizer(Context(), max_length=16, annotations={"noun": "span"})
    spans = [[[0, 4]], [[4, 8], [len(LONG) - 10, len(LONG) - 5]]]
    short = tokenizer.shorten({"text": ["keys", LONG], "noun": spans})
    assert short["noun"] == [[[0, 4]], [[4, 8]]]
    assert short["text"][1].startswith("The list")
    assert len(tokenizer(short, DRAW)) <= 16


def test_no_room_for_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="3 texts do not fit in 2 tokens;"):
        EnglishTokenizer(Context(), max_length=6).shorten(["a list", "a list", "a list"])
