"""Many texts are tokenized like each alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from omnimask.interfaces import Context, Draw
from omnimask_text.tokenize.byte import BytesTokenizer
from omnimask_text.tokenize.english import EnglishTokenizer
from omnimask_text.tokenize.tokenizer import TextTokenizer

TOKENIZERS: list[TextTokenizer] = [
    EnglishTokenizer(Context(), max_length=12),
    EnglishTokenizer(Context(), max_length=512),
    EnglishTokenizer(Context(), max_length=9, add_special=False),
    BytesTokenizer(Context(), max_length=16),
    EnglishTokenizer(Context(), max_length=12).keeping([]),
    EnglishTokenizer(Context(), max_length=12).keeping(["sentence"]),
]
TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(
        st.sampled_from(["a", "Dr. Who!", "e.g. this", "\n\n", "  ", "漢字", "end.", "[SEP]", "é\u0301", "🙂", "\t"]), max_size=30
    ).map(" ".join),
)


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["short", "long", "unframed", "bytes", "lean", "sentences"])
@settings(derandomize=True, max_examples=60, deadline=None)
@given(texts=st.lists(TEXTS, max_size=8))
@example(texts=["One. Two? three. Four", " one\n\ntwo ", "", "x", "x", "漢字 one", "a. " * 40])
def test_many_texts_are_tokenized_like_each_alone(tokenizer: TextTokenizer, texts: list[str]) -> None:
    def alone(text: str) -> list[tuple[int, int, object]]:
        return [(start, stop, tokenizer(text[start:stop], Draw(0, 0, ""))) for start, stop, _ in tokenizer.split(text)]

    known = []
    for text in texts:
        try:
            known.append((text, alone(text)))
        except ValueError:
            with pytest.raises(ValueError):
                tokenizer.tokenize_many(["before", text])
    together = tokenizer.tokenize_many([text for text, _ in known])
    for (text, parts), found in zip(known, together, strict=True):
        assert [part[:2] for part in parts] == [part[:2] for part in found], text
        for (*_, one), (*_, other) in zip(parts, found, strict=True):
            assert one.fields.keys() == other.fields.keys()
            named = [(one.content, other.content), (one.positions, other.positions)]
            for left, right in [*named, *((one.fields[name], other.fields[name]) for name in one.fields)]:
                assert np.asarray(left).dtype == np.asarray(right).dtype
                np.testing.assert_array_equal(left, right, err_msg=repr(text))
