"""EntityCS: entities in other languages, with their spans, and whole entities among what is hidden."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from omnimask.builder.build import Built
from omnimask.interfaces import Context, Draw
from omnimask_datasets.chronicle.dataset import Chronicle
from omnimask_text.augment import EMBEDDED, EntitySwap, read_dictionary

from .reports import BYTES, seen, small, tokenizer_of

DICTIONARY = read_dictionary(EMBEDDED)


@pytest.fixture(scope="module")
def swapped() -> Built:
    return small("text/entitycs", "modalities.text.augment.0.dictionary=embedded", BYTES)


def test_spans_survive_the_swap() -> None:
    """600 reports: every span's text is the counterpart, or what it was, and every other character is the same."""
    swap, reports, languages = EntitySwap(Context(), dictionary="embedded"), Chronicle(Context()), set()
    for number in range(600):
        raw = reports[number]["text"]
        found = swap(raw, Draw(0, 0, str(number)))
        expected, place, used = "", 0, []
        for (start, stop, kind), (new_start, new_stop, new_kind) in zip(raw["entity"], found["entity"], strict=True):
            own, new = raw["text"][start:stop], found["text"][new_start:new_stop]
            used.append({language for language, texts in DICTIONARY.get(own, {}).items() if new in texts})
            assert used[-1] if own in DICTIONARY else new == own
            assert kind == new_kind
            expected += raw["text"][place:start] + new
            place = stop
        assert found["text"] == expected + raw["text"][place:]
        for name in ("noun", "verb", "time", "signal"):
            assert [found["text"][a:b] for a, b in found[name]] == [raw["text"][a:b] for a, b in raw[name]]
        common = set.intersection(*(one for one in used if one)) if any(used) else set()
        assert common or not any(used), "one language for a text"
        languages |= common
    assert languages == {"de", "fr", "es"}


def test_the_annotation_of_tokens_follows(swapped: Built) -> None:
    """Through the recipe's own pipeline, by bytes: the tokens of every entity are the counterpart's, and differ by epoch."""
    places = set(DICTIONARY)
    counterparts = {text for found in DICTIONARY.values() for texts in found.values() for text in texts}
    texts: list[list[str]] = []
    changed = 0
    for epoch in range(2):
        texts.append([])
        for sample, _ in seen(swapped, 150, epoch=epoch):
            tokens = sample.tokens["text"]
            number, kind = (np.asarray(tokens.fields[name]) for name in ("entity", "entity.class"))
            for span in range(number.max() + 1):
                here = number == span
                assert np.ptp(np.flatnonzero(here)) == here.sum() - 1
                name = bytes(np.asarray(tokens.content)[here].tolist()).decode()
                assert kind[here][0] == 0 or name in counterparts or name not in places
                changed += name in counterparts - places
            texts[-1].append(str(tokenizer_of(swapped).decode(tokens)))
    assert changed > 200
    assert np.mean([left != right for left, right in zip(*texts, strict=True)]) > 0.5


def test_half_of_the_entities_and_some_of_the_rest_are_hidden(swapped: Built) -> None:
    """Entities whole; over 400 reports 50 % of their tokens, and 15 % of the others, within five standard errors at least."""
    inside, outside = [], []
    for sample, stream in seen(swapped, 400):
        fields = sample.tokens["text"].fields
        number, special = np.asarray(fields["entity"]), np.asarray(fields["special"], bool)
        is_asked = np.isin(np.arange(len(sample)), stream.targets.of)
        for span in range(number.max() + 1):
            assert len(set(is_asked[number == span].tolist())) == 1
        inside += is_asked[number >= 0].tolist()
        outside += is_asked[(number < 0) & ~special].tolist()
    assert np.mean(inside) == pytest.approx(0.5, abs=0.04)
    assert np.mean(outside) == pytest.approx(0.15, abs=0.01)


def test_validation_reads_the_texts_as_they_are(swapped: Built) -> None:
    raw = Chronicle(Context())
    texts = {raw[index]["text"]["text"] for index in range(len(raw))}
    for batch in swapped.validation_batches():
        ids, lengths = batch.store["text"].data.numpy(), batch.store["text"].layout.lengths
        starts = np.cumsum([0, *lengths])
        for start, stop in itertools.pairwise(starts):
            assert bytes(one for one in ids[start:stop].tolist() if one < 256).decode() in texts
