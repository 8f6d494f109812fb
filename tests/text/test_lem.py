"""Linguistic Entity Masking: only annotated tokens are ever hidden, and one of a span; on reports, and on chains in tests/toys."""

from __future__ import annotations

import numpy as np
import pytest

from omnimask.builder.build import Built
from omnimask.interfaces import CONTENT

from .reports import seen, small, tokenizer_of

FIELDS = ("entity", "noun", "verb")


@pytest.fixture(scope="module")
def lem() -> Built:
    return small("text/lem")


def test_only_annotated_tokens_are_hidden_and_one_of_a_span(lem: Built) -> None:
    """300 reports in three epochs: what is shown as something else, and what is asked for."""
    hidden_at: list[list[tuple[int, ...]]] = []
    for epoch in range(3):
        hidden_at.append([])
        for sample, stream in seen(lem, 300, epoch=epoch):
            fields = sample.tokens["text"].fields
            is_asked = np.isin(np.arange(len(sample)), stream.targets.of)
            is_annotated = np.any([np.asarray(fields[name]) >= 0 for name in FIELDS], axis=0)
            assert not (is_asked & ~is_annotated).any()
            assert not ((stream.literal != CONTENT) & ~is_asked).any()
            taken = np.zeros(len(sample), bool)
            for name in FIELDS:
                number = np.where(taken, -1, np.asarray(fields[name]))
                taken |= number >= 0
                assert np.bincount(number[is_asked & (number >= 0)], minlength=1).max() <= 1
            hidden_at[-1].append(tuple(np.flatnonzero(is_asked)))
    assert all(len(set(places)) > 1 for places in zip(*hidden_at, strict=True) if len(places[0]) > 2)


def test_the_ratio_is_of_all_tokens_where_spans_suffice(lem: Built) -> None:
    """15 % of the tokens that do not frame the text, or one token of every span; over 300 reports."""
    asked = wanted = 0
    for sample, stream in seen(lem, 300):
        fields = sample.tokens["text"].fields
        spans = sum(int(np.asarray(fields[name]).max()) + 1 for name in FIELDS)
        budget = 0.15 * np.count_nonzero(~np.asarray(fields["special"]))
        asked, wanted = asked + len(stream.targets), wanted + min(budget, spans)
        assert len(stream.targets) <= spans
    assert asked / wanted == pytest.approx(1.0, abs=0.02)


def test_every_kind_of_span_is_hidden_now_and_then(lem: Built) -> None:
    counts = dict.fromkeys(FIELDS, 0)
    for sample, stream in seen(lem, 100):
        for name in FIELDS:
            counts[name] += int((np.asarray(sample.tokens["text"].fields[name])[stream.targets.of] >= 0).sum())
    assert min(counts.values()) > 30


def test_texts_in_pairs_keep_their_annotations() -> None:
    """The second stage reads translations: lists of two texts, each with spans of its own."""
    built = small("text/lem")
    tokenizer = tokenizer_of(built)
    raw = {"text": ["Anna met Paul.", "Paul traf Anna."], "entity": [[[0, 4, "person"]], [[11, 15, "person"]]]}
    raw |= {"noun": [[], []], "verb": [[[5, 8]], [[5, 9]]]}
    fields = tokenizer(raw, seen(built, 1)[0][0].draw).fields
    assert sorted({*fields["document"][fields["entity"] >= 0].tolist()}) == [0, 1]
    assert np.count_nonzero(np.diff(fields["verb"]) > 0) == 2
