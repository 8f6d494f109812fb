"""Only annotated tokens are hidden; one of a span, or all of it; the rest and samples without annotations are others' business."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnimask.component import named
from omnimask.components.corruptors.shortened import hidden_units
from omnimask.components.maskers.annotated import AnnotatedMasker
from omnimask.interfaces import Context, Masking

from .fakes import CONTEXT, chain, draw_of, numbers, tokens_of

ENTITIES = numbers([-2, 3, 1, -4, 2, -1, 3])
KINDS = np.array([-1, 0, 1, -1, 2, -1, 0]).repeat([2, 3, 1, 4, 2, 1, 3])
TOKENS = tokens_of(16, entity=ENTITIES, entity__class=KINDS)


def mask_all(number: int = 0, **options) -> Masking:
    return AnnotatedMasker(CONTEXT, fields=["entity"], **options)(TOKENS, draw_of(number))


@given(st.integers(0, 80), st.floats(0.05, 1.0), st.sampled_from(["one", "all", "any"]), st.integers(0, 999))
def test_nothing_else_is_hidden(length: int, ratio: float, per_span, seed: int) -> None:
    tokens = chain(length, draw_of(seed))
    entity = tokens.fields["entity"]
    masking = AnnotatedMasker(CONTEXT, fields=["entity"], ratio=ratio, per_span=per_span)(tokens, draw_of(seed))
    assert not masking.is_target[entity < 0].any()
    assert np.array_equal(masking.is_visible, ~masking.is_target)
    for number in set(entity[entity >= 0].tolist()):
        hidden, size = int(masking.is_target[entity == number].sum()), int((entity == number).sum())
        if per_span == "one":
            assert hidden <= 1
        if per_span == "all":
            assert hidden in (0, size)
    if ratio == 1.0 and per_span == "one":
        assert masking.is_target.sum() == len(set(entity[entity >= 0].tolist()))


def test_one_token_of_a_span_each_as_often_as_the_others() -> None:
    """The first entity's three tokens, 3,000 draws: 1,000 each, 5 standard errors."""
    counts = np.sum([mask_all(n, ratio=1.0, per_span="one").is_target for n in range(3000)], axis=0)
    assert counts[ENTITIES == 0].sum() == counts[ENTITIES == 1].sum() == 3000
    assert np.abs(counts[ENTITIES == 0] - 1000).max() < 5 * np.sqrt(3000 * 2 / 9)


@pytest.mark.parametrize(
    ("per_span", "share_of", "expected"),
    [
        ("one", "candidates", 0.3 * 4),  # of 4 spans
        ("all", "candidates", 0.3 * 9),  # of their 9 tokens
        ("any", "candidates", 0.3 * 9),
        ("one", "tokens", 4.0),  # 4.8 of 16 tokens, and there are only 4 spans
        ("all", "tokens", 0.3 * 16),
        ("any", "tokens", 0.3 * 16),
    ],
)
def test_expected_numbers(per_span, share_of, expected: float) -> None:
    """4,000 draws, 5 standard errors."""
    counts = np.array([mask_all(n, ratio=0.3, per_span=per_span, share_of=share_of).is_target.sum() for n in range(4000)])
    assert abs(counts.mean() - expected) <= 5 * counts.std() / np.sqrt(len(counts))


def test_only_some_classes() -> None:
    masker = AnnotatedMasker(CONTEXT, fields=["entity"], ratio=1.0, classes={"entity": [1, 2]})
    assert np.array_equal(masker(TOKENS, draw_of(0)).is_target, np.isin(KINDS, [1, 2]))


def test_classes_by_name() -> None:
    spec = replace(CONTEXT.specs["chain"].fields["entity.class"], names=("person", "place", "work"))
    fields = {**CONTEXT.specs["chain"].fields, "entity.class": spec}
    context = Context(specs={"chain": replace(CONTEXT.specs["chain"], fields=fields)}, modalities=("chain",))
    masker = AnnotatedMasker(context, fields=["entity"], ratio=1.0, classes={"entity": ["work", 0]})
    assert np.array_equal(masker(TOKENS, draw_of(0)).is_target, np.isin(KINDS, [0, 2]))
    with pytest.raises(ValueError, match="the field 'entity' has no class 'city'; classes: person, place, work"):
        AnnotatedMasker(context, fields=["entity"], ratio=1.0, classes={"entity": ["city"]})
    with pytest.raises(ValueError, match="has no class 'city'; classes: only numbers"):
        AnnotatedMasker(CONTEXT, fields=["entity"], ratio=1.0, classes={"entity": ["city"]})
    with pytest.raises(ValueError, match="has no class 3; classes are 0 to 2"):
        AnnotatedMasker(CONTEXT, fields=["entity"], ratio=1.0, classes={"entity": [3]})


def test_several_fields_and_numbers() -> None:
    """A token of two spans belongs to the first field's; stretches of one year are a span."""
    year = np.full(16, np.nan, np.float32)
    year[[4, 5, 6, 9]] = [1999, 1999, 2001, 2001]
    tokens = tokens_of(16, entity=ENTITIES, year=year)
    masking = AnnotatedMasker(CONTEXT, fields=["entity", "year"], ratio=1.0)(tokens, draw_of(0))
    assert np.array_equal(masking.is_target, (ENTITIES >= 0) | ~np.isnan(year))
    unit = hidden_units(masking)
    assert unit[2] == unit[3] == unit[4] != unit[5]
    assert len({unit[4], unit[5], unit[6], unit[9]}) == 4


def test_the_rest_has_a_masker_of_its_own() -> None:
    """BiTimeBERT 2.0: time expressions at one rate, other tokens at another; 7 of 16 tokens are no entity's."""
    options = {"ratio": 0.5, "per_span": "any", "rest": named("masker", "random", ratio=0.2)}
    found = np.mean([mask_all(n, **options).is_target for n in range(2000)], axis=0)
    assert found[ENTITIES >= 0].mean() == pytest.approx(0.5, abs=0.02)
    assert found[ENTITIES < 0].mean() == pytest.approx(0.2, abs=0.02)
    masking = mask_all(0, ratio=1.0, rest=named("masker", "random", ratio=1.0))
    assert masking.is_target.all()
    assert len(np.unique(hidden_units(masking))) == 4 + 7


def test_samples_without_an_annotation() -> None:
    bare, draw = tokens_of(20), draw_of(0)
    assert not AnnotatedMasker(CONTEXT, fields=["entity"], ratio=1.0)(bare, draw).is_target.any()
    fallback = named("masker", "random", ratio=0.5)
    found = AnnotatedMasker(CONTEXT, fields=["entity"], ratio=1.0, fallback=fallback)(bare, draw)
    assert (found.is_target.sum(), found.level) == (10, 0.5)
    rest = AnnotatedMasker(CONTEXT, fields=["entity"], ratio=1.0, rest=fallback)(bare, draw)
    assert rest.is_target.sum() == 10
    assert not AnnotatedMasker(CONTEXT, fields=["entity"], ratio=1.0, fallback=fallback)(TOKENS, draw).is_target[ENTITIES < 0].any()


def test_annotated_tokens_may_be_what_stays() -> None:
    """GENIUS: key spans stay, and every gap between them is one unit."""
    masking = mask_all(0, ratio=1.0, inverse=True)
    assert np.array_equal(masking.is_visible, ENTITIES >= 0)
    assert masking.unit.tolist() == [0, 0, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, 2, -1, -1, -1]
    assert not AnnotatedMasker(CONTEXT, fields=["entity"], ratio=1.0, inverse=True)(tokens_of(9), draw_of(0)).is_target.any()


def test_fields_that_are_not_there() -> None:
    with pytest.raises(ValueError, match="needs the field 'verb'"):
        AnnotatedMasker(CONTEXT, fields=["verb"], ratio=0.5)
    with pytest.raises(ValueError, match=r"needs the field 'word\.class'"):
        AnnotatedMasker(CONTEXT, fields=["word"], ratio=0.5, classes={"word": [0]})
    with pytest.raises(ValueError, match=r"classes are given for \['entity'\], but fields are \['word'\]"):
        AnnotatedMasker(CONTEXT, fields=["word"], ratio=0.5, classes={"entity": [0]})
