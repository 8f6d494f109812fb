"""N-grams of a lexicon are hidden whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from omnimask.components.maskers.candidates import Candidates
from omnimask.components.maskers.lexicon import LexiconMasker
from omnimask.components.maskers.per_modality import PerModalityMasker
from omnimask.components.units.lexicon import Lexicon
from omnimask.interfaces import Context, FieldSpec, Tokens, TokenSpec
from omnimask.testing.samples import make_sample

from .fakes import draw_of

CONTEXT = Context(specs={"m": TokenSpec(vocabulary=10)}, modalities=("m",))
WORDS = Lexicon(10, ((1, 2), (3, 4, 5)), (2.0, 1.0))


def tokens_of(ids: list[int]) -> Tokens:
    return Tokens(np.array(ids), np.arange(len(ids), dtype=np.float32)[:, None])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    WORDS.save(tmp_path / "lexicon.txt")
    return tmp_path / "lexicon.txt"


def test_ngrams_are_units_with_their_own_ids(file: Path) -> None:
    masking = LexiconMasker(CONTEXT, ratio=1.0, lexicon=file)(tokens_of([7, 1, 2, 9, 3, 4, 5, 1]), draw_of(0))
    assert masking.unit is not None and masking.entry is not None
    assert masking.unit.tolist() == [0, 1, 1, 2, 3, 3, 3, 4]
    assert masking.entry.tolist() == [7, 10, 10, 9, 11, 11, 11, 1]


def test_units_are_hidden_whole_and_the_expected_number_is_exact(file: Path) -> None:
    """20 % of 12 tokens are 2.4; 4,000 draws, 5 standard errors."""
    tokens, counts = tokens_of([7, 1, 2, 9, 3, 4, 5, 1, 2, 8, 3, 4]), []
    masker = LexiconMasker(CONTEXT, ratio=0.2, lexicon=file)
    for number in range(4000):
        masking = masker(tokens, draw_of(number))
        counts.append(masking.is_target.sum())
        for start, stop in ((1, 3), (4, 7), (7, 9)):
            assert masking.is_target[start:stop].all() == masking.is_target[start:stop].any()
        assert masking.entry is not None and np.array_equal(masking.entry >= 0, masking.is_target)
    assert abs(np.mean(counts) - 2.4) < 5 * np.std(counts) / np.sqrt(4000)


def test_what_is_cut_by_a_special_token_is_no_ngram(file: Path) -> None:
    spec = TokenSpec(vocabulary=10, fields={"special": FieldSpec("bool")})
    masker = PerModalityMasker({"m": LexiconMasker(Context(specs={"m": spec}, modalities=("m",)), ratio=1.0, lexicon=file)})
    sample = make_sample({"m": spec}, {"m": 4}, draw_of(0))
    tokens = Tokens(np.array([1, 0, 2, 3]), sample.tokens["m"].positions, {"special": np.array([False, True, False, False])})
    masking = Candidates(masker, {"m": spec})(type(sample)({"m": tokens}, sample.draw, ("m",)))["m"]
    assert masking.unit is not None and masking.entry is not None
    assert masking.unit.tolist() == [0, -1, 1, 2]
    assert masking.entry.tolist() == [-1, -1, -1, 3]


def test_lexicons_that_do_not_fit(file: Path, tmp_path: Path) -> None:
    other = Context(specs={"m": TokenSpec(vocabulary=11)}, modalities=("m",))
    with pytest.raises(ValueError, match="has a vocabulary of 10, but the tokenizer has 11 ids"):
        LexiconMasker(other, lexicon=file)
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        LexiconMasker(CONTEXT, lexicon=tmp_path / "absent.txt")
    with pytest.raises(ValueError, match="needs a file, lexicon="):
        LexiconMasker(CONTEXT)
    with pytest.raises(ValueError, match="needs ids, but the tokens of 'm' are continuous; use"):
        LexiconMasker(Context(specs={"m": TokenSpec(width=(2,))}, modalities=("m",)), lexicon=file)
