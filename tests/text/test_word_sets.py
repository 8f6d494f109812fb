"""Sets of words: sampled and scored by the smoothed model of their document, and a model learns which is likelier."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from omnimask.builder.build import Built
from omnimask.interfaces import Context, Corpus, Draw, FieldSpec, Tokens
from omnimask_text.groups.word_sets import WordSets, count_words, words_of

from .learning import batches, learn, small

NUMBER = {"likelihood": FieldSpec("float32", arity=0)}
RARE, COMMON = "zebra", "the"
TEXTS = [
    " ".join(["The list holds values, a value is an object:"] * 8),
    "The zebra " * 12 + "runs. " * 40,
    "The " * 60 + "runs " * 10,
]


class Texts:
    """A corpus of texts, which counts how often it is read."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts, self.readings = texts, 0

    def __iter__(self) -> Iterator[Tokens]:
        raise AssertionError

    def raw(self) -> Iterator[Any]:
        self.readings += 1
        return iter(self.texts)

    def fingerprint(self) -> str:
        return repr(self.texts)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIMASK_CACHE", str(tmp_path / "cache"))


def transform(corpus: Corpus | None = None, **options: Any) -> WordSets:
    context = Context(modalities=("text",), labels=NUMBER, corpora={"text": corpus or Texts(TEXTS)})
    return WordSets(context, sets="likelihood", **{"min_count": 1, "min_words": 32, "subsample": None, **options})


def draw(epoch: int = 0, key: str = "document") -> Draw:
    return dataclasses.replace(Draw(0, epoch, key), group=(key,)).at("transform")


def likelihood(words: Sequence[str], text: str, smoothing: float) -> float:
    """By hand: logarithms of Dirichlet-smoothed shares."""
    own, corpus = Counter(words_of(text)), Counter(word for one in TEXTS for word in words_of(one))
    total = own.total() + smoothing
    return sum(math.log((own[word] + smoothing * corpus[word] / corpus.total()) / total) for word in words)


def test_rows_are_two_sets_of_one_length_before_their_document() -> None:
    sets = transform(mean_words=4.0)
    lengths: list[int] = []
    for epoch in range(300):
        one, two = sets([{"text": TEXTS[1], "other": 3}], [draw(epoch)])
        assert one["text"][1] == two["text"][1] == TEXTS[1]
        assert one["other"] == two["other"] == 3
        first, second = (row["text"][0].split() for row in (one, two))
        assert len(first) == len(second)
        lengths.append(len(first))
    assert min(lengths) == 1 and max(lengths) == 64 // 16  # the document has 64 words
    expected = [math.exp(-4) * 4**k / math.factorial(k) / (1 - math.exp(-4)) for k in (1, 2, 3)]
    for size, share in enumerate(expected, start=1):
        assert abs(lengths.count(size) / 300 - share) < 0.07


def test_the_preferred_set_is_likelier() -> None:
    for smoothing in (5.0, 100.0):
        sets = transform(smoothing=smoothing)
        for epoch in range(50):
            for row in sets([{"text": TEXTS[1]}], [draw(epoch)]):
                expected = likelihood(row["text"][0].split(), TEXTS[1], smoothing)
                assert row["likelihood"] == pytest.approx(expected, rel=1e-9)


def test_words_are_drawn_from_the_smoothed_model() -> None:
    sets = transform(smoothing=40.0, mean_words=8.0)
    drawn: Counter[str] = Counter()
    for epoch in range(1500):
        for row in sets([{"text": TEXTS[1]}], [draw(epoch)]):
            drawn.update(row["text"][0].split())
    for word in drawn:
        share = math.exp(likelihood([word], TEXTS[1], 40.0))
        assert abs(drawn[word] / drawn.total() - share) < 5 * math.sqrt(share * (1 - share) / drawn.total()) + 1e-9
    assert "list" in drawn  # of the corpus, not of the document


def test_frequent_words_are_drawn_less_often() -> None:
    def shares(subsample: float | None) -> float:
        sets = transform(subsample=subsample, mean_words=8.0)
        rows = [row for epoch in range(200) for row in sets([{"text": TEXTS[1]}], [draw(epoch)])]
        drawn = Counter(word for row in rows for word in row["text"][0].split())
        return drawn[COMMON] / drawn[RARE]

    assert shares(1e-3) < 0.6 * shares(None)


def test_the_default_smoothing_is_the_mean_length() -> None:
    assert transform().smoothing == pytest.approx(sum(len(words_of(text)) for text in TEXTS) / 3)


def test_short_documents_and_stop_words_are_left_out(tmp_path: Path) -> None:
    stops = tmp_path / "stops.txt"
    stops.write_text("the\nruns\n", encoding="utf-8")
    sets = transform(stop_words=stops, min_words=10)
    assert {"the", "runs"}.isdisjoint(sets.words.words)
    assert sets([{"text": "The list holds values."}, {}], [draw(), draw(key="b")]) == []
    rows = sets([{"text": TEXTS[1]}], [draw()])
    assert not {"the", "runs"} & {word for row in rows for word in row["text"][0].split()}


def test_words_are_counted_once_for_all_runs(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    corpus = Texts(TEXTS)
    first, again = transform(corpus), transform(corpus)
    assert corpus.readings == 1
    assert first.words.words == again.words.words and np.array_equal(first.words.counts, again.words.counts)
    transform(corpus, min_count=2)
    assert corpus.readings == 2
    for file in (tmp_path / "cache" / "words").iterdir():
        file.write_text("{", encoding="utf-8")
    assert transform(corpus).words.words == first.words.words
    assert corpus.readings == 3 and "are recounted" in caplog.text


def test_counting_ends_in_time() -> None:
    words = count_words(Texts(TEXTS), min_count=1, max_words=10)
    assert words.num_texts == 1 and words.counts.sum() == len(words_of(TEXTS[0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_count": 1000}, "no word occurs 1000 times in the training samples; lower min_count"),
        ({"stop_words": Path("nowhere.txt")}, re.escape("stop_words nowhere.txt cannot be read")),
        ({"modality": "image"}, "unknown modality 'image';"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transform(**options)


def test_labels_are_numbers_and_only_a_build_has_a_corpus() -> None:
    classes = {"likelihood": FieldSpec("int64", arity=0, classes=2)}
    with pytest.raises(ValueError, match=r"label 'likelihood' has 2 classes; set labels: \{likelihood: \{\}\}"):
        WordSets(Context(modalities=("text",), labels=classes), sets="likelihood")
    with pytest.raises(ValueError, match="needs the training samples of a recipe"):
        WordSets(Context(modalities=("text",), labels=NUMBER), sets="likelihood")


@torch.no_grad()
def accuracy(built: Built) -> tuple[float, int]:
    """Of held-out pairs, and how many there are."""
    built.model.eval()
    scores = [built.model(batch, is_scored=True).scores["preference"]["accuracy"] for batch in built.validation_batches()]
    return sum(score.total.item() for score in scores) / sum(score.count for score in scores), sum(score.count for score in scores)


def test_which_set_is_likelier_is_learned() -> None:
    """On held-out documents of the embedded English; chance is one half. Without masked language modelling, which takes longer."""
    built = small(
        "text/prop",
        "init=null",
        "data={name: english, validation: 0.15, max_validation: 500}",
        "data.group={transform: {name: text.word_sets, sets: likelihood, min_count: 3, min_words: 24, subsample: null}}",
        "predictors=[{name: preference, field: likelihood, pool: mean, pooler: false}]",
        "encoder.depth=1",
        "train.batch_tokens=6144",
        steps=80,
    )
    torch.manual_seed(0)
    learn(built, batches(built, 80), lr=3e-3)
    right, count = accuracy(built)
    assert count > 300
    assert right > 0.58  # measured: 0.64; the standard error is 0.024
