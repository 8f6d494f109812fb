"""Scores decide what is hidden: the highest, the lowest, or in proportion; what has no score stays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from omnimask.components.maskers.scored import ScoredMasker
from omnimask.interfaces import Context, FieldSpec, Tokens, TokenSpec

from .fakes import CONTEXT, draw_of, tokens_of

NAN = float("nan")


def scored(scores: Sequence[float]) -> Tokens:
    return tokens_of(len(scores), score=np.array(scores, np.float32))


SCORES = scored([0.5, NAN, 3.0, -1.0, 2.0, NAN, 0.0, 1.0])


def test_the_highest_and_the_lowest() -> None:
    assert np.flatnonzero(ScoredMasker(CONTEXT, ratio=0.375)(SCORES, draw_of(0)).is_target).tolist() == [2, 4, 7]
    lowest = ScoredMasker(CONTEXT, ratio=0.375, pick="lowest")(SCORES, draw_of(0))
    assert np.flatnonzero(lowest.is_target).tolist() == [0, 3, 6]


@pytest.mark.parametrize("pick", ["highest", "lowest"])
def test_what_has_no_score_is_never_hidden(pick) -> None:
    masking = ScoredMasker(CONTEXT, ratio=1.0, pick=pick)(SCORES, draw_of(0))
    assert np.array_equal(masking.is_target, ~np.isnan(SCORES.fields["score"]))


def test_drawing_never_takes_a_score_of_zero() -> None:
    tokens = scored([0.0, NAN, 1.0, 0.0, 2.0])
    assert ScoredMasker(CONTEXT, ratio=1.0, pick="sampled")(tokens, draw_of(0)).is_target.tolist() == [
        False,
        False,
        True,
        False,
        True,
    ]


def test_equal_scores_prefer_no_place() -> None:
    """One of 8 equal tokens, 4,000 draws: 500 each, 5 standard errors."""
    masker = ScoredMasker(CONTEXT, ratio=1 / 8)
    counts = np.sum([masker(scored([1.0] * 8), draw_of(n)).is_target for n in range(4000)], axis=0)
    assert np.abs(counts - 500).max() < 5 * np.sqrt(4000 * 7 / 64)


def test_draws_are_in_proportion_to_scores() -> None:
    """One of four: 0.1, 0.2, 0.3, 0.4; and of two, the second as if the first were not there. 6,000 draws, 5 standard errors."""
    tokens, weight = scored([1.0, 2.0, 3.0, 4.0]), np.array([0.1, 0.2, 0.3, 0.4])
    one = np.mean([ScoredMasker(CONTEXT, ratio=0.25, pick="sampled")(tokens, draw_of(n)).is_target for n in range(6000)], axis=0)
    assert np.abs(one - weight).max() < 5 * np.sqrt(0.25 / 6000)
    two = np.mean([ScoredMasker(CONTEXT, ratio=0.5, pick="sampled")(tokens, draw_of(n)).is_target for n in range(6000)], axis=0)
    others = (weight[:, None] * weight[None, :] / (1 - weight[:, None])) * (1 - np.eye(4))
    assert np.abs(two - weight - others.sum(axis=0)).max() < 5 * np.sqrt(0.25 / 6000)


def test_samples_of_low_scores_weigh_less() -> None:
    masking = ScoredMasker(CONTEXT, ratio=0.5, weighted=True)(scored([0.25, 0.75, NAN, 0.5]), draw_of(0))
    assert masking.weight is not None
    assert masking.weight.tolist() == [0.5] * 4
    assert ScoredMasker(CONTEXT, ratio=0.5, weighted=True)(scored([NAN]), draw_of(0)).weight.tolist() == [1.0]


def test_absent_integers_are_minus_one() -> None:
    spec = TokenSpec(vocabulary=3, fields={"rank": FieldSpec("int64")})
    masker = ScoredMasker(Context(specs={"m": spec}, modalities=("m",)), ratio=1.0, field="rank", pick="lowest")
    tokens = Tokens(np.zeros(3, np.int64), np.zeros((3, 1), np.float32), {"rank": np.array([-1, 0, 5])})
    assert masker(tokens, draw_of(0)).is_target.tolist() == [False, True, True]


@pytest.mark.parametrize("options", [{"pick": "sampled"}, {"weighted": True}])
def test_negative_scores_are_no_proportions(options) -> None:
    with pytest.raises(ValueError, match="field 'score' contains the score -1; pick: sampled and weighted: true need"):
        ScoredMasker(CONTEXT, ratio=0.5, **options)(SCORES, draw_of(0))
