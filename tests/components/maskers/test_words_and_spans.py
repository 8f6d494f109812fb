"""Spans of geometric length, and n-grams: whole words, lengths as declared, expected numbers exact, every place reached."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnimask.components.maskers.ngram import NGramMasker
from omnimask.components.maskers.span import SpanMasker
from omnimask.components.maskers.words import words_of
from omnimask.interfaces import Masking, Tokens

from .fakes import CONTEXT, draw_of, numbers, tokens_of

sizes = st.lists(st.integers(1, 6) | st.integers(-3, -1), max_size=25)


def worded(sizes: list[int]) -> Tokens:
    """Words of these sizes; negative sizes are tokens of no word."""
    word = numbers(sizes)
    return tokens_of(len(word), word=word)


def check_pieces(masking: Masking, word: np.ndarray) -> list[int]:
    """Units are stretches of whole words, numbered from the left; their lengths in words."""
    assert np.array_equal(masking.unit >= 0, masking.is_target)
    assert np.array_equal(masking.is_visible, ~masking.is_target)
    lengths = []
    for number in range(masking.unit.max(initial=-1) + 1):
        held = np.flatnonzero(masking.unit == number)
        assert np.array_equal(held, np.arange(held[0], held[0] + len(held)))
        inside = set(word[held].tolist())
        assert -1 not in inside
        assert np.array_equal(np.flatnonzero(np.isin(word, list(inside))), held), "a word is hidden in parts"
        lengths.append(len(inside))
    firsts = [int(np.flatnonzero(masking.unit == number)[0]) for number in range(len(lengths))]
    assert firsts == sorted(firsts)
    return lengths


@given(sizes, st.floats(0.05, 1.0), st.integers(0, 999))
def test_spans_are_whole_words(sizes: list[int], ratio: float, seed: int) -> None:
    tokens = worded(sizes)
    masker = SpanMasker(CONTEXT, ratio=ratio, lengths="geometric", max_length=4, field="word")
    masking = masker(tokens, draw_of(seed))
    lengths = check_pieces(masking, tokens.fields["word"])
    assert all(length <= 4 for length in lengths)
    assert masking.is_target.sum() < ratio * len(tokens) + 4 * 6


@given(sizes, st.floats(0.05, 1.0), st.integers(0, 999))
def test_ngrams_are_whole_words(sizes: list[int], ratio: float, seed: int) -> None:
    tokens = worded(sizes)
    masking = NGramMasker(CONTEXT, ratio=ratio, field="word")(tokens, draw_of(seed))
    lengths = check_pieces(masking, tokens.fields["word"])
    assert all(length <= 3 for length in lengths)


def test_words_are_stretches_of_a_field() -> None:
    words = words_of(worded([2, -1, 3, 1]), "word")
    assert words.start.tolist() == [0, 3, 6]
    assert words.size.tolist() == [2, 3, 1]
    assert words.follows.tolist() == [False, False, True]
    assert words_of(worded([2, 1]), None).size.tolist() == [1, 1, 1]


def test_span_lengths_are_geometric() -> None:
    """2,000 tokens give some 79 spans of 3.8 each; over 300 samples every length's share is within 5 standard errors and 2 %.

    The 2 %: the span that would exceed the budget is laid the less often the longer it is.
    """
    found = np.zeros(11)
    for number in range(300):
        masking = SpanMasker(CONTEXT, ratio=0.15, lengths="geometric")(tokens_of(2000), draw_of(number))
        found += np.bincount(np.bincount(masking.unit[masking.unit >= 0]), minlength=11)
    share = 0.2 * 0.8 ** np.arange(10)
    share /= share.sum()
    total = found.sum()
    assert (share * np.arange(1, 11)).sum() == pytest.approx(3.797, abs=1e-3)
    allowed = 5 * np.sqrt(share * (1 - share) / total) + 0.02 * share + 0.005 * share * np.arange(1, 11)
    assert np.all(np.abs(found[1:] / total - share) < allowed)


@pytest.mark.parametrize("ratio", [0.05, 0.15, 0.5, 0.9])
@pytest.mark.parametrize("cls", [partial(SpanMasker, lengths="geometric"), NGramMasker], ids=["span", "ngram"])
def test_the_expected_number_is_exact(cls, ratio: float) -> None:
    """Words of 1 to 6 tokens, and tokens of no word; 3,000 draws, 5 standard errors."""
    tokens = worded([1, 4, 2, -1, 6, 1, 1, 3, 2, -1, 5, 1, 2, 2])
    masker = cls(CONTEXT, ratio=ratio, field="word")
    counts = np.array([masker(tokens, draw_of(n)).is_target.sum() for n in range(3000)])
    expected = min(ratio * len(tokens), len(tokens) - 2)
    assert abs(counts.mean() - expected) < 5 * max(counts.std(), 0.01) / np.sqrt(len(counts))


def test_every_word_is_hidden_equally_often_by_ngrams() -> None:
    """Each of 23 words with probability 0.15, at the ends and in the middle; 6,000 draws, 5 standard errors."""
    masker = NGramMasker(CONTEXT, ratio=0.15, weights=(4, 3, 2, 1))
    share = np.mean([masker(tokens_of(23), draw_of(n)).is_target for n in range(6000)], axis=0)
    assert np.abs(share - 0.15).max() < 5 * np.sqrt(0.15 * 0.85 / 6000)


def test_ngrams_of_n_words_are_drawn_in_proportion_to_their_weights() -> None:
    """One n-gram per window of n / 0.15 words, n being 18 / 11 on average: some 275 in 3,000 words."""
    counts = np.zeros(4)
    for number in range(100):
        masking = NGramMasker(CONTEXT, ratio=0.15)(tokens_of(3000), draw_of(number))
        counts += np.bincount(np.bincount(masking.unit[masking.unit >= 0]), minlength=4)
    share = np.array([6, 3, 2]) / 11
    total = counts.sum()
    assert total / 100 == pytest.approx(3000 * 0.15 / (18 / 11), rel=0.01)
    allowed = 5 * np.sqrt(share * (1 - share) / total) + 1 / (total / 100)  # one per sample is cut where the circle closes
    assert np.all(np.abs(counts[1:] / total - share) < allowed)


def test_ngrams_are_spread_evenly() -> None:
    """With single words every window of 1 / ratio words holds exactly one, so that their number hardly varies."""
    masker = NGramMasker(CONTEXT, ratio=0.1, weights=(1.0,))
    assert {int(masker(tokens_of(100), draw_of(n)).is_target.sum()) for n in range(200)} == {10}


def test_everything_can_be_hidden() -> None:
    tokens = worded([2, 3, 1])
    assert NGramMasker(CONTEXT, ratio=1.0, field="word")(tokens, draw_of(0)).is_target.all()
    assert SpanMasker(CONTEXT, ratio=1.0, lengths="geometric", field="word")(tokens, draw_of(0)).is_target.all()


def test_words_need_geometric_lengths() -> None:
    with pytest.raises(ValueError, match="lengths: split counts tokens, not words; set lengths: geometric,"):
        SpanMasker(CONTEXT, field="word")
    with pytest.raises(ValueError, match="masker ngram needs the field 'phrase', but the tokens of 'chain' have"):
        NGramMasker(CONTEXT, field="phrase")
