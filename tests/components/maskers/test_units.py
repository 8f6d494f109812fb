"""Whole units: never in parts, the expected share of tokens exact; and tokens that no masker sees."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnimask.components.maskers.candidates import Candidates, take
from omnimask.components.maskers.per_modality import PerModalityMasker
from omnimask.components.maskers.random import RandomMasker
from omnimask.components.maskers.units import UnitMasker
from omnimask.interfaces import Context, Draw, FieldSpec, Masking, Sample, Tokens, TokenSpec

SPEC = TokenSpec(vocabulary=9, fields={"word": FieldSpec("int64"), "special": FieldSpec("bool")})
CONTEXT = Context(specs={"m": SPEC}, modalities=("m",))


def tokens_of(sizes: list[int], *, loose: int = 0) -> Tokens:
    """Words of these sizes, then tokens of no word."""
    word = np.concatenate([np.repeat(np.arange(len(sizes)), sizes), np.full(loose, -1)]).astype(np.int64)
    return Tokens(np.zeros(len(word), np.int64), np.arange(len(word), dtype=np.float32)[:, None], {"word": word})


def draw(number: int) -> Draw:
    return Draw(0, 0, str(number))


@given(st.lists(st.integers(1, 6), min_size=1, max_size=20), st.floats(0.05, 1), st.integers(0, 1000))
def test_words_are_hidden_whole(sizes: list[int], ratio: float, seed: int) -> None:
    tokens = tokens_of(sizes, loose=2)
    masking = UnitMasker(CONTEXT, ratio=ratio)(tokens, draw(seed))
    word = tokens.fields["word"]
    for number in range(len(sizes)):
        assert len(set(masking.is_target[word == number].tolist())) == 1
    assert not masking.is_target[word < 0].any()
    assert np.array_equal(masking.unit, np.where(masking.is_target, word, -1))
    assert np.array_equal(masking.is_visible, ~masking.is_target)


def test_the_expected_share_is_exact() -> None:
    """Of 31 tokens 15 % are 4.65; 4,000 draws of words of up to 6 tokens have a standard error of some 0.03."""
    tokens = tokens_of([1, 2, 3, 4, 5, 6, 1, 1, 2, 3, 3])
    counts = [UnitMasker(CONTEXT, ratio=0.15)(tokens, draw(n)).is_target.sum() for n in range(4000)]
    assert np.mean(counts) == pytest.approx(4.65, abs=0.12)
    assert max(counts) < 4.65 + 6


def test_everything_or_nothing() -> None:
    assert UnitMasker(CONTEXT, ratio=1.0)(tokens_of([2, 3]), draw(0)).is_target.all()
    assert not UnitMasker(CONTEXT, ratio=1.0)(tokens_of([], loose=3), draw(0)).is_target.any()
    assert len(UnitMasker(CONTEXT, ratio=0.5)(tokens_of([]), draw(0)).is_target) == 0


def test_a_field_that_is_not_there() -> None:
    with pytest.raises(ValueError, match=r"needs the field 'phrase', but the tokens of 'm' have \['special', 'word'\]"):
        UnitMasker(CONTEXT, ratio=0.1, field="phrase")


def framed(length: int) -> Tokens:
    """The first and the last token are special."""
    special = np.zeros(length, bool)
    special[[0, -1]] = True
    return Tokens(np.arange(length), np.arange(length, dtype=np.float32)[:, None], {"special": special, "word": np.arange(length)})


def test_special_tokens_are_never_hidden_and_do_not_count() -> None:
    masker = Candidates(PerModalityMasker({"m": RandomMasker(CONTEXT, ratio=0.5)}), {"m": SPEC})
    for number in range(50):
        masking = masker(Sample({"m": framed(22)}, draw(number), ("m",)))["m"]
        assert masking.is_target.sum() == 10  # half of the 20 others
        assert masking.is_visible[[0, -1]].all() and not masking.is_target[[0, -1]].any()


def test_what_a_masking_holds_is_put_back() -> None:
    class Everything:
        def __call__(self, sample: Sample) -> dict[str, Masking]:
            tokens = sample.tokens["m"]
            assert tokens.content.tolist() == [1, 2, 3] and tokens.fields["word"].tolist() == [1, 2, 3]
            hidden = np.array([True, False, True])
            return {
                "m": Masking(~hidden, hidden, np.array([5, -1, 6]), np.array([2.0, 3.0, 4.0]), 0.3, np.eye(3, dtype=bool)[[0, 2]])
            }

    masking = Candidates(Everything(), {"m": SPEC})(Sample({"m": framed(5)}, draw(0), ("m",)))["m"]
    assert masking.is_target.tolist() == [False, True, False, True, False]
    assert masking.unit.tolist() == [-1, 5, -1, 6, -1]
    assert masking.weight.tolist() == [1, 2, 3, 4, 1]
    assert masking.groups.tolist() == [[False, True, False, False, False], [False, False, False, True, False]]
    assert masking.level == 0.3


def test_fields_of_pairs_and_of_samples_go_along() -> None:
    spec = TokenSpec(vocabulary=9, fields={"bond": FieldSpec("int64", arity=2), "label": FieldSpec("int64", arity=0)})
    tokens = Tokens(np.arange(4), np.zeros((4, 1), np.float32), {"bond": np.arange(16).reshape(4, 4), "label": np.array(3)})
    part = take(tokens, np.array([1, 3]), spec)
    assert part.fields["bond"].tolist() == [[5, 7], [13, 15]]
    assert part.fields["label"] == 3
