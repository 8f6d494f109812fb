"""Long texts in parts: nothing is lost, every part fits, and borders are where a reader would put them."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from omnimask.interfaces import Context, Draw
from omnimask_text.tokenize.byte import BytesTokenizer
from omnimask_text.tokenize.english import EnglishTokenizer
from omnimask_text.tokenize.subwords import Subwords
from omnimask_text.tokenize.tokenizer import TextTokenizer
from omnimask_text.tokenize.train import train

DRAW = Draw(0, 0, "text")
PIECES = ["word", "another", "Anticonstitutionally", "a" * 150, "é", "漢字", "😀", "e\u0301", "\u00ad", "...", "[MASK]", "don't"]
SPACES = [" ", "  ", "\n", "\n\n", "\n \n", ". ", ".\n", "\t", "\u2003", "! ", "", "。"]
TEXTS = st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(SPACES)), min_size=1, max_size=60)


def byte_level(max_length: int) -> TextTokenizer:
    """Its words begin with their spaces, so a word that begins a part is cut in another way."""
    backend: Tokenizer = train(lambda: ["a word and another word don't " * 9], "bpe", 270)
    return TextTokenizer(Subwords(backend), max_length=max_length, add_special=True, vocabulary=None, annotations=None)


TOKENIZERS: list[Callable[[int], TextTokenizer]] = [
    lambda length: EnglishTokenizer(Context(), max_length=length),
    lambda length: BytesTokenizer(Context(), max_length=max(length, 6)),
    lambda length: byte_level(max(length, 6)),
]


@pytest.mark.parametrize("make", TOKENIZERS, ids=["english", "bytes", "byte-level"])
@settings(derandomize=True, max_examples=60, deadline=None)
@given(pairs=TEXTS, max_length=st.integers(5, 40))
def test_parts_cover_the_text_and_have_the_tokens_that_they_say(
    make: Callable[[int], TextTokenizer], pairs: list[tuple[str, str]], max_length: int
) -> None:
    tokenizer, text = make(max_length), "".join(piece + space for piece, space in pairs)
    parts = tokenizer.split(text)
    end = 0
    for start, stop, size in parts:
        assert end <= start < stop
        assert not text[end:start].strip()
        end = stop
        part = tokenizer.part(text, start, stop)
        assert part == part.strip()
        assert len(tokenizer(part, DRAW)) == tokenizer.count(part) == size <= tokenizer.max_length
    left = text[end:].strip()
    assert not left or not tokenizer.scheme.lengths([left])[0]


@settings(derandomize=True, max_examples=60, deadline=None)
@given(pairs=TEXTS, max_length=st.integers(8, 40), data=st.data())
def test_annotations_are_cut_with_the_text(pairs: list[tuple[str, str]], max_length: int, data: st.DataObject) -> None:
    tokenizer = EnglishTokenizer(Context(), max_length=max_length, annotations={"name": ["a", "b"]})
    text = "".join(piece + space for piece, space in pairs)
    borders = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    spans = [[start, stop, "b"] for start, stop in zip(borders[::2], borders[1::2], strict=False)]
    raw = {"text": text, "name": spans}
    found = [
        (start + first, start + last, kind)
        for start, stop, _ in tokenizer.split(raw)
        for first, last, kind in tokenizer.part(raw, start, stop)["name"]
    ]
    for start, stop, _ in tokenizer.split(raw):
        tokenizer(tokenizer.part(raw, start, stop), DRAW)
    for first, last, kind in spans:
        inside = "".join(text[start:stop] for start, stop, _ in found if first <= start and stop <= last)
        assert visible(inside) == visible(text[first:last]), kind


def visible(text: str) -> str:
    """Without white space, and without soft hyphens, which the tokenizer drops: nothing else of a text makes no part."""
    return "".join(text.replace("\u00ad", "").split())


def test_a_span_stays_whole_where_it_fits() -> None:
    tokenizer = EnglishTokenizer(Context(), max_length=12, annotations={"name": "span"})
    text = "One two three. Four five six seven. Eight nine ten. Eleven twelve thirteen. Fourteen"
    span = [text.index("six"), text.index("Eleven") - 2]
    for start, stop, _ in tokenizer.split({"text": text, "name": [span]}):
        assert stop <= span[0] or start >= span[1] or (start <= span[0] and span[1] <= stop)


def test_borders() -> None:
    tokenizer = EnglishTokenizer(Context(), max_length=14)
    text = (
        "The first paragraph is here. It has two sentences.\n\nThe second one is a sentence that has no stop until the end of it."
    )
    assert [text[start:stop] for start, stop, _ in tokenizer.split(text)] == [
        "The first paragraph is here. It has two sentences.",
        "The second one is a sentence that has no stop until the",
        "end of it.",
    ]


def test_short_paragraphs_share_a_part() -> None:
    tokenizer = EnglishTokenizer(Context(), max_length=32)
    parts = tokenizer.split("\n\n".join(f"A list of {number} names." for number in range(100)))
    assert all(size >= 0.7 * 32 for _, _, size in parts[:-1])


def test_a_text_that_fits_is_one_part() -> None:
    tokenizer = EnglishTokenizer(Context(), max_length=32)
    text = "  Two sentences. And white space around.\n"
    assert tokenizer.split(text) == [(2, len(text) - 1, tokenizer.count(text))]


@pytest.mark.parametrize("text", ["", " \n", {"text": "\t"}])
def test_nothing_has_no_parts(text: str) -> None:
    assert EnglishTokenizer(Context()).split(text) == []


@pytest.mark.parametrize("raw", [[], ["", None], [" \n", ""], {"text": ["", ""]}, {"text": None}])
def test_several_blank_texts_have_no_parts(raw: object) -> None:
    assert EnglishTokenizer(Context()).split(raw) == []


def test_several_texts_are_one_part() -> None:
    tokenizer = EnglishTokenizer(Context(), max_length=9)
    pair = ["one two", "three"]
    assert tokenizer.split(pair) == [(0, 2, tokenizer.count(pair))]
    assert tokenizer.part(pair, 0, 2) == pair
    with pytest.raises(ValueError, match="more than max_length 9"):
        tokenizer.split(["one two three four", "five six seven"])


def test_a_character_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="'😀' has 4 pieces, but at most 3 fit;"):
        BytesTokenizer(Context(), max_length=5).split("a 😀")


@pytest.mark.parametrize(
    "strange", ["." * 300_000, " " * 600_000, "\n" * 300_000, ". " * 100_000, ".'" * 100_000, "\n \t" * 99_000]
)
def test_strange_texts_take_no_longer(strange: str) -> None:
    text = f"Begin. {strange} End."
    start = time.process_time()
    parts = EnglishTokenizer(Context(), max_length=512).split(text)
    assert time.process_time() - start < 10
    assert text[parts[0][0] :].startswith("Begin.") and text[: parts[-1][1]].endswith("End.")


def test_a_word_without_end_is_cut_anywhere() -> None:
    text = "ab" * 200_000
    parts = BytesTokenizer(Context(), max_length=1002).split(text)
    assert [stop - start for start, stop, _ in parts[:-1]] == [1000] * (len(parts) - 1)
