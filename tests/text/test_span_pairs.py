"""Pairs of spans: their labels are true, their spans never overlap, and a model learns to tell them apart."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omnimask.builder.build import Built, build
from omnimask.interfaces import Context, Draw, FieldSpec, MaskedBatch
from omnimask.recipe import load_recipe
from omnimask_datasets.english import English
from omnimask_text.groups.span_pairs import Objective, SpanPairs

from .learning import batches, learn

CLASSES = FieldSpec("int64", arity=0, classes=2)
CONTEXT = Context(modalities=("text",), labels={"together": CLASSES})
OBJECTIVES: Sequence[Objective] = ("same_paragraph", "in_paragraph", "same_document")


def document(number: int, paragraphs: Sequence[int]) -> str:
    """Each sentence says where it stands: ``D3 P1 S0 here.``"""
    return "\n\n".join(
        " ".join(f"D{number} P{part} S{sentence} here." for sentence in range(count)) for part, count in enumerate(paragraphs)
    )


def origins(text: str) -> list[tuple[int, int, int]]:
    return [(int(d), int(p), int(s)) for d, p, s in re.findall(r"D(\d+) P(\d+) S(\d+) here\.", text)]


def drawn(size: int, *, epoch: int = 0, keys: Sequence[str] | None = None) -> list[Draw]:
    names = tuple(keys or [f"doc{number}" for number in range(size)])
    return [dataclasses.replace(Draw(0, epoch, name), group=names).at("transform") for name in names]


def pairs(objective: Objective, texts: Sequence[str], epochs: int, **options: Any) -> list[tuple[str, str, int]]:
    transform = SpanPairs(CONTEXT, sets="together", objective=objective, **options)
    rows: list[Mapping[str, Any]] = []
    for epoch in range(epochs):
        rows += transform([{"text": text} for text in texts], drawn(len(texts), epoch=epoch))
    return [(*row["text"], row["together"]) for row in rows]


@pytest.mark.parametrize("objective", OBJECTIVES)
@settings(deadline=None, max_examples=40)
@given(documents=st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=5), min_size=1, max_size=6))
def test_labels_are_true_and_spans_never_overlap(objective: Objective, documents: list[list[int]]) -> None:
    texts = [document(number, paragraphs) for number, paragraphs in enumerate(documents)]
    for one, two, together in pairs(objective, texts, 10):
        first, second = origins(one), origins(two)
        assert first and second
        assert not set(first) & set(second)
        assert len({place[:2] for place in first}) == len({place[:2] for place in second}) == 1
        (d1, p1, _), (d2, p2, _) = first[0], second[0]
        if objective == "same_document":
            assert together == (d1 == d2)
            assert len(first) == documents[d1][p1] and len(second) == documents[d2][p2]
            continue
        assert together == ((d1, p1) == (d2, p2))
        if objective == "same_paragraph":
            assert max(len(first), len(second)) <= 3
        if objective == "in_paragraph" and together:
            assert len(first) + len(second) == documents[d1][p1]
        for span in (first, second) if objective == "same_paragraph" else (first,):
            assert [s for _, _, s in span] == list(range(span[0][2], span[0][2] + len(span)))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_labels_and_negatives_have_their_shares(objective: Objective) -> None:
    texts = [document(number, [3, 4, 5, 6]) for number in range(8)]
    found = pairs(objective, texts, 100)
    kinds = Counter("positive" if same else "hard" if origins(a)[0][0] == origins(b)[0][0] else "easy" for a, b, same in found)
    assert len(found) > 760  # of 800: a text that lent its span to another cannot lend it again
    assert abs(kinds["positive"] / len(found) - 0.5) < 0.06
    assert abs(kinds["hard"] / len(found) - (0.0 if objective == "same_document" else 0.25)) < 0.06
    only_hard = pairs("same_paragraph", texts, 10, hard=1.0, positive=0.0)
    assert all(not same and origins(a)[0][0] == origins(b)[0][0] for a, b, same in only_hard)


@pytest.mark.parametrize("objective", ["same_paragraph", "in_paragraph"])
def test_a_single_span_tells_nothing_about_the_label(objective: Objective) -> None:
    """Numbers of sentences, and which ones, are distributed alike in pairs that belong together and others."""
    texts = [document(number, [2, 4, 6, 5]) for number in range(8)]
    found = pairs(objective, texts, 400)
    for spans in ([(one, same) for one, _, same in found], [(two, same) for _, two, same in found]):
        seen = [Counter(len(origins(span)) for span, same in spans if same == label) for label in (0, 1)]
        for size in seen[0] | seen[1]:
            shares = [count[size] / count.total() for count in seen]
            assert abs(shares[0] - shares[1]) < 0.05, (size, shares)


def test_parts_of_one_document_lend_each_other_nothing() -> None:
    transform = SpanPairs(CONTEXT, sets="together", objective="same_document")
    rows = [{"text": document(number, [2, 2, 2])} for number in range(3)]
    keys = ["a.txt#0", "a.txt#812", "b.txt"]
    for epoch in range(50):
        for row in transform(rows, drawn(3, epoch=epoch, keys=keys)):
            first, second = (origins(text)[0][0] for text in row["text"])
            assert row["together"] == (first == second)
            assert {first, second} != {0, 1}


def test_without_another_document_only_hard_negatives_are_left() -> None:
    texts = [document(0, [3, 3])]
    found = pairs("same_paragraph", texts, 60, hard=0.0)
    assert {same for *_, same in found} == {0, 1}
    assert all(origins(a)[0][0] == origins(b)[0][0] == 0 for a, b, _ in found)
    alone = pairs("same_document", texts, 60)
    assert {same for *_, same in alone} == {1} and len(alone) < 60


def test_texts_of_too_few_sentences_are_left_out() -> None:
    assert pairs("same_paragraph", [document(0, [1, 1, 1])], 20) == []
    assert pairs("same_document", [document(0, [9])], 20) == []
    assert SpanPairs(CONTEXT, sets="together")([{}, {"text": "   "}], drawn(2)) == []


def test_paragraphs_may_be_lines() -> None:
    text = "One is. Two is.\nThree is. Four is.\nFive is. Six is."
    assert {tuple(sorted(pair)) for *pair, same in pairs("in_paragraph", [text], 40, paragraphs="line") if same} == {
        ("One is.", "Two is."),
        ("Four is.", "Three is."),
        ("Five is.", "Six is."),
    }


def two_documents(path: Path) -> None:
    """The two longest of `english`, a row each."""
    english = English(Context())
    longest = sorted(english.texts, key=len)[-2:]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in longest), encoding="utf-8")


@torch.no_grad()
def accuracy(built: Built, given: Sequence[MaskedBatch]) -> tuple[float, float]:
    """Of pairs, and of the more frequent answer."""
    built.model.eval()
    scores = [built.model(batch, is_scored=True).scores["sequence"]["accuracy"] for batch in given]
    labels = np.concatenate([batch.labels["together"] for batch in given])
    return sum(score.total.item() for score in scores) / len(labels), float(max(labels.mean(), 1 - labels.mean()))


def test_whether_paragraphs_are_of_one_document_is_learned(tmp_path: Path) -> None:
    """PSD on two documents: the head has to relate one paragraph to the other. Pairs that were never seen, of known documents.

    Without masked language modelling, and with a pre-norm encoder, which needs fewer steps.
    """
    two_documents(tmp_path / "rows.jsonl")
    built = build(
        load_recipe(
            "text/span-origin",
            [
                "modalities.text.tokenizer={name: text.english, max_length: 48}",
                "encoder={name: transformer, width: 48, depth: 2, heads: 4, position: {name: sincos}}",
                "predictors=[{name: sequence, target: {name: label, field: together}}]",
                f"data={{name: jsonl, path: {tmp_path / 'rows.jsonl'}, validation: 0.0}}",
                "data.group={size: 16, transform: {name: text.span_pairs, sets: together, objective: same_document}}",
                "init=null",
                "train.batch_tokens=12288",
                "train.workers=0",
            ],
        )
    )
    given = list(batches(built, 64))
    training, fresh = given[:56], given[56:]
    torch.manual_seed(0)
    learn(built, (batch for _ in range(5) for batch in training), lr=4e-3)
    right, frequent = accuracy(built, fresh)
    assert right > frequent + 0.08  # measured: 0.79, and 0.63


@pytest.mark.parametrize(
    ("context", "options", "message"),
    [
        (Context(modalities=("text",)), {}, r"label 'together' is not declared; add labels: \{together: \{classes: 2\}\}"),
        (
            Context(modalities=("text",), labels={"together": FieldSpec("float32", arity=0)}),
            {},
            r"label 'together' has no classes; set labels: \{together: \{classes: 2\}\}",
        ),
        (CONTEXT, {"sentences": (3, 1)}, "a span needs at least one, and the first number must be the smaller one"),
        (dataclasses.replace(CONTEXT, modalities=("text", "image")), {}, "set the one with the texts"),
        (CONTEXT, {"modality": "words"}, "unknown modality 'words'; modalities: text"),
    ],
)
def test_what_does_not_fit_is_refused(context: Context, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpanPairs(context, sets="together", **options)
