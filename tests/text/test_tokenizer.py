"""Fields of tokens, several texts, annotations, and what is refused."""

from __future__ import annotations

import pickle
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from omnimask.interfaces import Context, Draw, Tokens
from omnimask.recipe import load_recipe
from omnimask_datasets.chronicle.dataset import Chronicle
from omnimask_text.tokenize.byte import BytesTokenizer
from omnimask_text.tokenize.characters import paragraph_starts, sentence_starts
from omnimask_text.tokenize.english import EnglishTokenizer
from omnimask_text.tokenize.tokenizer import EMBEDDED, TextTokenizer, embedded_data

DRAW = Draw(0, 0, "text")
ENGLISH = EnglishTokenizer(Context())
TEXT = "Hello there, Dr. Who! This is e.g. one.\n\nThe end"


def words(tokenizer: TextTokenizer, text: str, tokens: Tokens) -> list[str]:
    """What the tokens of each word cover."""
    number, offset = tokens.fields["word"], tokens.fields["offset"]
    found = []
    for word in range(number.max() + 1):
        here = offset[number == word]
        found.append(text[here[:, 0].min() : here[:, 1].max()])
    return found


def test_one_text() -> None:
    tokens = ENGLISH(TEXT, DRAW)
    special = ENGLISH.spec.special_ids
    assert tokens.content[[0, -1]].tolist() == [special["cls"], special["sep"]]
    assert np.flatnonzero(tokens.fields["special"]).tolist() == [0, len(tokens) - 1]
    assert np.array_equal(tokens.positions[:, 0], np.arange(len(tokens)))
    assert words(ENGLISH, TEXT, tokens)[:7] == ["Hello", "there", ",", "Dr", ".", "Who", "!"]
    assert not tokens.fields["document"].any()
    assert tokens.fields["offset"][0].tolist() == tokens.fields["offset"][-1].tolist() == [0, 0]
    for name in ("word", "sentence"):
        assert tokens.fields[name][[0, -1]].tolist() == [-1, -1]
        assert (np.diff(tokens.fields[name][1:-1]) >= 0).all()


def test_pieces_of_a_word_share_its_number() -> None:
    tokens = ENGLISH("an anticonstitutional idea", DRAW)
    assert len(tokens) > 6
    assert words(ENGLISH, "an anticonstitutional idea", tokens) == ["an", "anticonstitutional", "idea"]


def test_several_texts() -> None:
    texts = ["One. Two.", "three", "four five."]
    tokens = ENGLISH(texts, DRAW)
    special = ENGLISH.spec.special_ids
    is_sep = tokens.content == special["sep"]
    assert is_sep.sum() == 3 and is_sep[-1]
    assert np.array_equal(tokens.fields["document"], np.cumsum(is_sep) - is_sep)
    for number, text in enumerate(texts):
        is_here = (tokens.fields["document"] == number) & ~tokens.fields["special"]
        start, stop = tokens.fields["offset"][is_here][0, 0], tokens.fields["offset"][is_here][-1, 1]
        assert (start, stop) == (0, len(text))
    is_text = ~tokens.fields["special"]
    assert (np.diff(tokens.fields["word"][is_text]) >= 0).all()
    assert tokens.fields["sentence"][is_text].max() == 3
    assert ENGLISH.decode(tokens) == ["one. two.", "three", "four five."]
    assert ENGLISH.count(texts) == len(tokens)


def test_without_frames() -> None:
    tokenizer = EnglishTokenizer(Context(), add_special=False)
    tokens = tokenizer(["a list", "a tuple"], DRAW)
    assert not tokens.fields["special"].any()
    assert tokens.fields["document"].tolist() == [0, 0, 1, 1]


def test_bytes() -> None:
    tokens = BytesTokenizer(Context())("é 😀.", DRAW)
    assert tokens.content.tolist() == [257, *"é 😀.".encode(), 258]
    assert tokens.fields["offset"][1:-1].tolist() == [[0, 1]] * 2 + [[1, 2]] + [[2, 3]] * 4 + [[3, 4]]
    assert tokens.fields["word"].tolist() == [-1, 0, 0, 1, 1, 1, 1, 1, 2, -1]


def test_a_mask_in_the_text_is_a_mask() -> None:
    """It can be asked for: only tokens that frame the text are special."""
    tokens = ENGLISH("a [MASK] of [SEP] names", DRAW)
    assert tokens.content[2] == ENGLISH.spec.special_ids["mask"]
    assert tokens.fields["special"].tolist() == [True, False, False, False, True, False, True]
    assert tokens.fields["word"][4] == -1
    assert ENGLISH.decode(tokens) == "a [MASK] of names"


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three? Four", ["One. ", "Two! ", "Three? ", "Four"]),
        ("He said “Go.” She went.", ["He said “Go.” ", "She went."]),
        ("e.g. this, 3.14 and a.b", ["e.g. this, 3.14 and a.b"]),
        ("A heading\n\nand its text", ["A heading\n\n", "and its text"]),
        ("one line\nand the next", ["one line\nand the next"]),
        ("你好。我很好！", ["你好。", "我很好！"]),
        ("Ends here.", ["Ends here."]),
        ("Wait... what? ", ["Wait... what? "]),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    starts = [0, *sentence_starts(text).tolist(), len(text)]
    assert [text[start:stop] for start, stop in pairwise(starts)] == sentences


def test_paragraphs() -> None:
    text = "A title\n \nFirst line\nsecond line.\nA list:\n- one"
    starts = [0, *paragraph_starts(text).tolist(), len(text)]
    assert [text[start:stop] for start, stop in pairwise(starts)] == [
        "A title\n \n",
        "First line\nsecond line.\n",
        "A list:\n",
        "- one",
    ]


def test_annotations_lie_on_the_tokens_that_they_overlap() -> None:
    tokenizer = EnglishTokenizer(Context(), annotations={"entity": ["PER", "LOC"], "time": "span", "score": "number"})
    text = "Anna Karenina lives in Moscow now."
    raw = {"text": text, "entity": [[23, 29, "LOC"], [0, 13, "PER"]], "time": [[31, 32]], "score": [[0, 4, 0.5]]}
    fields = tokenizer(raw, DRAW).fields
    offset = fields["offset"]
    for name, spans in (("entity", raw["entity"]), ("time", raw["time"])):
        for number, (start, stop, *_) in enumerate(spans):
            expected = (offset[:, 0] < stop) & (offset[:, 1] > start)
            assert expected.any()
            assert np.array_equal(fields[name] == number, expected)
    assert np.array_equal(fields["entity.class"], np.choose(fields["entity"] + 1, [-1, 1, 0]))
    assert np.array_equal(~np.isnan(fields["score"]), offset[:, 1] * (offset[:, 0] < 4) > 0)
    assert set(fields["score"][~np.isnan(fields["score"])].tolist()) == {0.5}
    assert tokenizer.spec.fields["entity.class"].classes == 2


def test_annotations_of_several_texts_are_numbered_on() -> None:
    tokenizer = EnglishTokenizer(Context(), annotations={"name": "span"})
    fields = tokenizer({"text": ["Anna went", "Lev and Anna"], "name": [[[0, 4]], [[0, 3], [8, 12]]]}, DRAW).fields
    shown = [fields["name"][fields["document"] == number].max() for number in (0, 1)]
    assert shown == [0, 2]


def test_the_first_of_several_columns_is_the_text() -> None:
    tokenizer = EnglishTokenizer(Context(), annotations={"name": "span"})
    raw = {"body": "Anna went", "name": [[0, 4]]}
    assert tokenizer(raw, DRAW).fields["name"].max() == 0
    assert tokenizer.part(raw, 0, 2) == {"body": "An", "name": [[0, 2]]}


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([[0, 900, "PER"]], r"span 0 \[0, 900, 'PER'\] exceeds the text of 13 characters"),
        ([[0, 4, "PER"], [5, 5, "LOC"]], r"span 1 \[5, 5, 'LOC'\] is empty: it"),
        ([[0, 4, "ORG"]], "'ORG' is not one of its classes PER, LOC"),
        ([[5, 9, "PER"], [3, 6, "LOC"]], r"span 0 \[5, 9, 'PER'\] overlaps span 1 \[3, 6, 'LOC'\]"),
        ([[0, 4]], r"4\] must have the form \[start, stop, value\]"),
        ([[0, True, "PER"]], "start and stop must be integers"),
    ],
)
def test_a_bad_span_is_named(spans: list[Any], message: str) -> None:
    tokenizer = EnglishTokenizer(Context(), annotations={"entity": ["PER", "LOC"]})
    for use in (lambda raw: tokenizer(raw, DRAW), tokenizer.split):
        with pytest.raises(ValueError, match=message):
            use({"text": "Anna Karenina", "entity": spans})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 2}, "max_length 2 leaves no room for text besides 2 special tokens"),
        ({"annotations": {"word": "span"}}, "'word' is a field of every text"),
        ({"annotations": {"a.b": "span"}}, "may only contain letters"),
        ({"annotations": {"a": ["x", "x"]}}, "has a duplicate class"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EnglishTokenizer(Context(), **options)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("", "is empty$"),
        (" \n ", "it is empty: only 3 blank characters"),
        (["a", ""], "text 2 of 2 is empty"),
        ("ab\ud800", "it contains a lone surrogate at 2"),
        ("word " * 600, "602 tokens, more than max_length 512"),
        (b"a", r"a decoder \(text\.utf8\)"),
    ],
)
def test_what_is_no_text_says_why(raw: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ENGLISH(raw, DRAW)


def test_one_character() -> None:
    for tokenizer in (ENGLISH, BytesTokenizer(Context())):
        assert len(tokenizer("a", DRAW)) == 3
        assert tokenizer.split("a") == [(0, 1, 3)]


def test_the_shipped_vocabulary_never_changes() -> None:
    """Runs are resumed with it: ids of words are those of the first version."""
    assert ENGLISH.spec.vocabulary == 8192
    assert ENGLISH("The function returns a list of [MASK] strings.", DRAW).content.tolist() == [
        2, 178, 335, 396, 43, 337, 203, 4, 781, 18, 3
    ]  # fmt: skip
    assert {use: ENGLISH.spec.special_ids[use] for use in ("pad", "unk", "cls", "sep", "mask")} == {
        "pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4
    }  # fmt: skip


def test_a_pickled_tokenizer_is_the_same() -> None:
    again = pickle.loads(pickle.dumps(ENGLISH))  # noqa: S301
    assert again.spec == ENGLISH.spec
    assert np.array_equal(again(TEXT, DRAW).content, ENGLISH(TEXT, DRAW).content)


def test_a_recipe_gives_annotations(tmp_path: Any) -> None:
    recipe = """
omnimask: 1
modalities:
  text:
    tokenizer: {name: text.english, max_length: 32, annotations: {entity: [PER, LOC], time: span, score: number}}
    masker: {name: random, ratio: 0.15}
    corruptor: {name: mask_token}
encoder: {name: transformer, width: 16, depth: 1, heads: 1}
predictors: [{name: in_place, target: {name: ids}}]
data: {name: english}
train: {steps: 1, batch_tokens: 64, optimizer: {name: adamw, lr: 1e-3}}
"""
    (tmp_path / "recipe.yaml").write_text(recipe, encoding="utf-8")
    loaded = load_recipe(tmp_path / "recipe.yaml")
    (tmp_path / "again.yaml").write_text(loaded.to_yaml(), encoding="utf-8")
    assert load_recipe(tmp_path / "again.yaml") == loaded
    tokenizer = loaded.modalities["text"].tokenizer(Context())
    assert {"entity", "entity.class", "time", "score"} < set(tokenizer.spec.fields)
    for wrong in ("entity=[]", "entity=classes", "entity=1"):
        with pytest.raises(ValueError, match="annotations"):
            load_recipe(tmp_path / "recipe.yaml", [f"modalities.text.tokenizer.annotations.{wrong}"])


def test_embedded_data_have_the_annotations_that_are_read() -> None:
    assert ENGLISH.embedded({}) == embedded_data({}) == embedded_data({"annotations": None}) == "english"
    assert embedded_data({"annotations": EMBEDDED}) == "chronicle"
    assert embedded_data({"annotations": {"entity": ["place", "person", "organisation", "event"], "time": "span"}}) == "chronicle"
    assert embedded_data({"annotations": {"entity": ["person", "place"]}}) == "english", "organisations would be refused"
    assert embedded_data({"annotations": {"time": "number"}}) == embedded_data({"annotations": {"score": "span"}}) == "english"


def test_the_embedded_reports_are_read_with_all_their_annotations() -> None:
    tokenizer, reports = BytesTokenizer(Context(), annotations=dict(EMBEDDED)), Chronicle(Context())
    for number in range(0, len(reports), 100):
        raw = reports[number]["text"]
        tokens = tokenizer(raw, Draw(0, 0, str(number)))
        assert tokenizer.decode(tokens) == raw["text"]
        for name in EMBEDDED:
            held = tokens.fields[name]
            found = [bytes(tokens.content[held == span].tolist()).decode() for span in range(held.max() + 1)]
            assert found == [raw["text"][start:stop] for start, stop, *_ in raw[name]]


def test_bytes_read_spelled_special_tokens_in_typed_texts_alone() -> None:
    tokenizer = BytesTokenizer(Context())
    text = "é [MASK][MASK]x [mask]"
    literal, typed = tokenizer(text, DRAW), tokenizer.reading_spelled()(text, DRAW)
    assert len(literal) == 2 + len(text.encode()) and 259 not in literal.content
    assert typed.content.tolist() == [257, *"é ".encode(), 259, 259, *b"x [mask]", 258]
    assert tokenizer.reading_spelled().decode(typed) == text
    plain = "no special token"
    for name, values in tokenizer(plain, DRAW).fields.items():
        assert np.array_equal(tokenizer.reading_spelled()(plain, DRAW).fields[name], values)
    assert tokenizer.reading_spelled().split(text)[0][2] == len(typed)
