"""Random and span maskers: exact numbers, spans kept apart, mean lengths, uniform coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnimask.components.maskers.per_modality import PerModalityMasker
from omnimask.components.maskers.random import RandomMasker
from omnimask.components.maskers.span import SpanMasker
from omnimask.interfaces import Context, Draw, Sample, TokenSpec
from omnimask.testing import make_sample, make_tokens

SPEC = TokenSpec(vocabulary=5)
ratios = st.floats(0.01, 1.0)


def tokens(length: int):
    return make_tokens(SPEC, length, Draw(0, 0, "t"))


@given(st.integers(0, 200), ratios, st.text(max_size=3))
def test_random_hides_the_declared_number(length: int, ratio: float, key: str) -> None:
    masking = RandomMasker(Context(), ratio=ratio)(tokens(length), Draw(0, 0, key))
    hidden = int(masking.is_target.sum())
    assert abs(hidden - ratio * length) < 1
    assert np.array_equal(masking.is_visible, ~masking.is_target)


@given(st.integers(0, 200), ratios, st.floats(1.0, 20.0), st.text(max_size=3))
def test_spans_hide_the_declared_number_in_spans_kept_apart(length: int, ratio: float, mean: float, key: str) -> None:
    masking = SpanMasker(Context(), ratio=ratio, mean_length=mean)(tokens(length), Draw(0, 0, key))
    hidden = int(masking.is_target.sum())
    assert abs(hidden - ratio * length) < 1
    assert np.array_equal(masking.unit >= 0, masking.is_target)
    starts = np.flatnonzero(np.diff(np.concatenate([[False], masking.is_target]).astype(int)) == 1)
    wanted = min(max(1, round(hidden / mean)), hidden, length - hidden + 1) if hidden else 0
    assert len(starts) == wanted == len(set(masking.unit[masking.is_target].tolist()))
    assert masking.unit[starts].tolist() == list(range(wanted))  # numbered from the left, and never adjacent


def test_an_integer_budget_never_varies() -> None:
    masker = RandomMasker(Context(), ratio=0.75)
    assert {int(masker(tokens(196), Draw(0, 0, str(key))).is_target.sum()) for key in range(50)} == {147}


@pytest.mark.parametrize("masker", [RandomMasker(Context(), ratio=0.25), SpanMasker(Context(), ratio=0.25, mean_length=3)])
def test_no_place_is_left_out(masker: RandomMasker | SpanMasker) -> None:
    """Each place of a random masking is hidden with probability 0.25 (5 deviations of 2000 draws); spans reach every place."""
    draws = 2000
    share = sum(masker(tokens(24), Draw(0, 0, str(key))).is_target for key in range(draws)) / draws
    if isinstance(masker, RandomMasker):
        assert np.abs(share - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / draws)
    assert share.min() > 0.07  # at the ends 18 of 171 splits of the gaps: 0.105, less 5 deviations
    assert share.mean() == pytest.approx(0.25, abs=1e-9)  # 6 of 24 in every draw


def test_span_lengths_are_uniform_over_all_splits() -> None:
    """Two spans share 4 hidden tokens as 1+3, 2+2 or 3+1, equally often: 5 deviations of 3000 draws."""
    masker, draws = SpanMasker(Context(), ratio=0.5, mean_length=2.0), 3000
    first = [int((masker(tokens(8), Draw(0, 0, str(key))).unit == 0).sum()) for key in range(draws)]
    share = np.bincount(first, minlength=4)[1:] / draws
    assert np.abs(share - 1 / 3).max() < 5 * np.sqrt(2 / 9 / draws)


def test_modalities_are_masked_in_stages_of_their_own() -> None:
    specs = {"a": SPEC, "b": SPEC}
    sample = make_sample(specs, {"a": 40, "b": 40}, Draw(0, 0, "s"))
    masker = PerModalityMasker({name: RandomMasker(Context(), ratio=0.5) for name in specs})
    found = masker(sample)
    assert not np.array_equal(found["a"].is_target, found["b"].is_target)
    alone = masker(Sample({"b": sample.tokens["b"]}, sample.draw, sample.modalities))
    assert np.array_equal(alone["b"].is_target, found["b"].is_target)  # what else a sample holds changes nothing
