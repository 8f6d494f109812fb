"""Entities are swapped for counterparts, and every annotation says what it said before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnimask.data.pipeline import ModalityPipeline
from omnimask.interfaces import Context, Draw
from omnimask_datasets.chronicle import world
from omnimask_text.augment import EMBEDDED, EntitySwap, Replacement, _moved, _replaced, read_dictionary
from omnimask_text.tokenize.byte import BytesTokenizer

RAW = {
    "text": "She left Vienna for New York, not for Vienna.",
    "entity": [[9, 15, "city"], [20, 28, "city"], [38, 44, "city"]],
    "verb": [[4, 8]],
    "phrase": [[9, 28], [34, 45]],
    "year": None,
}
PLAIN = {"Vienna": ["Wien"], "New York": ["Nueva York", "NY"]}


def swap(folder: Path, dictionary: Any, **options: Any) -> EntitySwap:
    (folder / "entities.json").write_text(json.dumps(dictionary), encoding="utf-8")
    return EntitySwap(Context(), dictionary=folder / "entities.json", **options)


def shown(raw: dict[str, Any], name: str) -> list[str]:
    return [raw["text"][start:stop] for start, stop, *_ in raw[name]]


def draw(number: int = 0) -> Draw:
    return Draw(0, 0, str(number))


def test_spans_survive_the_swap(tmp_path: Path) -> None:
    augment = swap(tmp_path, PLAIN)
    for number in range(20):
        found = augment(RAW, draw(number))
        city = shown(found, "entity")[1]
        assert city in PLAIN["New York"]
        assert found["text"] == f"She left Wien for {city}, not for Wien."
        assert shown(found, "entity") == ["Wien", city, "Wien"]
        assert [span[2] for span in found["entity"]] == ["city"] * 3
        assert shown(found, "verb") == ["left"]
        assert shown(found, "phrase") == [f"Wien for {city}", "for Wien."]
        assert found["year"] is None
    assert RAW["text"].startswith("She left Vienna")


def test_probability(tmp_path: Path) -> None:
    """Three entities, each with probability 0.5: over 2,000 draws a share of 0.5, with a standard error of 0.0065."""
    augment = swap(tmp_path, PLAIN, probability=0.5)
    counts = [sum(text not in PLAIN for text in shown(augment(RAW, draw(n)), "entity")) for n in range(2000)]
    assert np.mean(counts) / 3 == pytest.approx(0.5, abs=0.033)
    assert set(counts) == {0, 1, 2, 3}


def test_one_language_for_a_sample(tmp_path: Path) -> None:
    augment = swap(tmp_path, {"Vienna": {"de": "Wien", "it": ["Vienna", "Viena"]}, "New York": {"it": "Nuova York"}})
    found = {augment(RAW, draw(n))["text"] for n in range(60)}
    assert "She left Wien for New York, not for Wien." in found
    assert all("Nuova" in text for text in found if "Wien" not in text)
    assert not any("Nuova" in text for text in found if "Wien" in text)


def test_what_has_no_counterpart_stays(tmp_path: Path) -> None:
    augment = swap(tmp_path, {"Paris": ["Parigi"]})
    for raw in (RAW, "plain text", {"text": "no annotation"}, {"text": "none", "entity": None}, ["two", "texts"]):
        assert augment(raw, draw()) == raw


def test_several_texts(tmp_path: Path) -> None:
    raw = {"text": ["In Vienna.", "In Rome and Vienna."], "entity": [[[3, 9]], [[12, 18], [3, 7]]], "verb": [[], [[0, 2]]]}
    found = swap(tmp_path, PLAIN)(raw, draw())
    assert found == {"text": ["In Wien.", "In Rome and Wien."], "entity": [[[3, 7]], [[12, 16], [3, 7]]], "verb": [[], [[0, 2]]]}


@given(st.text("abc ", min_size=1, max_size=30), st.data())
def test_spans_outside_of_swaps_show_the_same_text(text: str, data) -> None:
    borders = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    swaps = [
        Replacement(start, stop, data.draw(st.text("XYZ", min_size=1, max_size=5)))
        for start, stop in zip(borders[::2], borders[1::2], strict=False)
    ]
    new = _replaced(text, swaps)
    for start in range(len(text)):
        for stop in range(start + 1, len(text) + 1):
            ((left, right),) = _moved([(start, stop)], swaps)
            inside = [one for one in swaps if start < one.stop and one.start < stop]
            if not inside:
                assert new[left:right] == text[start:stop]
            else:
                assert 0 <= left < right <= len(new)
                assert all(one.text in new[left:right] for one in inside)
            for one in swaps:
                if (start, stop) == (one.start, one.stop):
                    assert new[left:right] == one.text


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([[0, 4], [2, 6]], "has overlapping spans, at character 2"),
        ([[0, 99]], r"\[0, 99\] is not a span of the 45 characters"),
        ([[3]], r"\[3\] is not a span"),
    ],
)
def test_spans_that_are_none(tmp_path: Path, spans: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        swap(tmp_path, PLAIN)({**RAW, "entity": spans}, draw())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], 'must be {"entity":'),
        ({"a": []}, r"'a' has the counterparts \[\], which must be strings"),
        ({"a": {"de": [3]}}, "which must be strings"),
        ({"a": " "}, "which must be strings"),
    ],
)
def test_dictionaries_that_are_none(tmp_path: Path, data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        swap(tmp_path, data)
    with pytest.raises(ValueError, match="cannot be read"):
        read_dictionary(tmp_path / "absent.json")


def test_a_text_that_becomes_too_long_is_cut(tmp_path: Path) -> None:
    """30 characters fit, and the counterpart has 20 more than the entity: what does not fit is left out, with its spans."""
    raw = {"text": "In Vienna they met. Then Vienna.", "entity": [[3, 9], [25, 31]]}
    tokenizer = BytesTokenizer(Context(), max_length=34, annotations={"entity": "span"})
    augment = swap(tmp_path, {"Vienna": ["the imperial city of Wien"]})
    tokens = ModalityPipeline("text", tokenizer, augment=(augment,))(raw, draw())
    assert len(tokens) <= 34
    assert str(tokenizer.decode(tokens)).startswith("In the imperial city of Wien")
    assert set(tokens.fields["entity"].tolist()) == {-1, 0}


def test_swapped_entities_can_be_masked_whole(tmp_path: Path) -> None:
    """EntityCS: the spans that a masker reads are those of the counterparts."""
    from omnimask.components.maskers.annotated import AnnotatedMasker

    tokenizer = BytesTokenizer(Context(), max_length=80, annotations={"entity": "span"})
    raw = {name: RAW[name] for name in ("text", "entity")} | {"entity": [span[:2] for span in RAW["entity"]]}
    tokens = ModalityPipeline("text", tokenizer, augment=(swap(tmp_path, PLAIN),))(raw, draw(1))
    masker = AnnotatedMasker(Context(specs={"text": tokenizer.spec}, modalities=("text",)), fields=["entity"], ratio=1.0)
    is_target = masker(tokens, draw()).is_target
    hidden = bytes(tokens.content[is_target].astype(np.uint8).tolist())
    assert hidden in (b"WienNueva YorkWien", b"WienNYWien")


def test_the_embedded_dictionary_has_the_places_and_bodies_of_the_embedded_reports() -> None:
    found = read_dictionary(EMBEDDED)
    assert found.keys() == {era.text for era in (*world.CITIES, *world.COUNTRIES, *world.BODIES)}
    assert all(counterparts.keys() == {"de", "fr", "es"} for counterparts in found.values())
    assert EntitySwap(Context(), dictionary="embedded").counterparts == found
