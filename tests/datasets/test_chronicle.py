"""Generated reports: pure functions of their numbers, with spans that hold what they say."""

from __future__ import annotations

import itertools
import math
import pickle
from collections import Counter, defaultdict
from datetime import datetime
from hashlib import blake2b

import pytest

from omnimask.interfaces import Context, Dataset
from omnimask_datasets.chronicle import world
from omnimask_datasets.chronicle.dataset import EDITION, Chronicle
from omnimask_datasets.chronicle.report import Report

DIGESTS = {1: "0fb31d1a4d2a62f9"}
"""Of all texts, by edition. Where they change, EDITION grows, so that no run continues on other texts."""


@pytest.fixture(scope="module")
def reports() -> list[dict]:
    dataset = Chronicle(Context())
    return [dataset[index] for index in range(len(dataset))]


def texts(reports: list[dict]) -> list[str]:
    return [report["text"]["text"] for report in reports]


def spans(report: dict, name: str) -> list[str]:
    raw = report["text"]
    return [raw["text"][span[0] : span[1]] for span in raw[name]]


def test_the_texts_are_those_of_the_edition(reports: list[dict]) -> None:
    assert blake2b("\n".join(texts(reports)).encode(), digest_size=8).hexdigest() == DIGESTS[EDITION]


def test_samples_do_not_depend_on_what_was_read_before(reports: list[dict]) -> None:
    dataset = pickle.loads(pickle.dumps(Chronicle(Context())))  # noqa: S301
    assert isinstance(dataset, Dataset)
    for index in (4199, 7, 0, 7):
        assert dataset[index] == reports[index]
    assert len({dataset.key(index) for index in range(len(dataset))}) == len(dataset) == 4200
    assert dataset.fingerprint() == Chronicle(Context()).fingerprint()
    with pytest.raises(IndexError):
        dataset[4200]


def test_there_are_as_many_reports_of_every_year_and_no_two_are_equal(reports: list[dict]) -> None:
    assert Counter(report["year"] for report in reports) == dict.fromkeys(range(21), 200)
    assert all(report["label"] == report["year"] for report in reports)
    assert len(set(texts(reports))) == len(reports)


def test_texts_are_clean_sentences(reports: list[dict]) -> None:
    for text in texts(reports):
        assert not set(text) & set("@[]/") and "  " not in text and "the the " not in text.lower()
        assert text.endswith(".") and 4 <= text.count(". ") + 1 <= 7
        assert all(sentence[0].isupper() for sentence in text.split(". "))


def test_spans_hold_what_they_say(reports: list[dict]) -> None:
    known = {"place": {era.text for era in (*world.CITIES, *world.COUNTRIES)}}
    known["organisation"] = {era.text for era in (*world.BODIES, *world.COMPANIES)} | {*world.CLUBS, *world.PAPERS}
    words: dict[str, set[str]] = defaultdict(set)
    for report in reports:
        raw = report["text"]
        taken = [False] * len(raw["text"])
        for name in ("entity", "noun", "verb", "time", "signal"):
            assert raw[name] == sorted(raw[name])
            for start, stop, *_ in raw[name]:
                assert 0 <= start < stop <= len(raw["text"])
                assert not any(taken[start:stop]), "spans of all annotations are apart"
                taken[start:stop] = [True] * (stop - start)
                before, after = raw["text"][start - 1 : start], raw["text"][stop : stop + 1]
                assert not before.isalnum() and not after.isalnum(), "spans hold whole words"
        for start, stop, kind in raw["entity"]:
            name = raw["text"][start:stop]
            if kind == "person":
                first, last = name.split()
                assert first in world.FIRST_NAMES and last in world.SURNAMES
            else:
                assert name in known[kind]
        for name in ("noun", "verb", "signal"):
            words[name].update(spans(report, name))
    assert {"minister", "reform", "fax machine", "website"} <= words["noun"]
    assert {"announced", "met", "rejected"} <= words["verb"]
    assert {word.lower() for word in words["signal"]} == {"on", "in", "since", "before", "after", "by", "for"}
    assert words["noun"] & words["verb"] == {"end"}


def test_numbers_of_years_are_expressions_of_time(reports: list[dict]) -> None:
    for report in reports:
        covered = "".join(spans(report, "time"))
        for year in range(1970, 2020):
            assert report["text"]["text"].count(str(year)) == covered.count(str(year))


def test_dates_are_of_the_last_days_before_the_report(reports: list[dict]) -> None:
    checked = 0
    for number, report in enumerate(reports):
        day = Report(number).day
        assert day.year == world.FIRST_YEAR + report["year"]
        for words in (said.split() for said in spans(report, "time")):
            if words[0].isdigit() and len(words) >= 2:
                year = int(words[2]) if len(words) == 3 else day.year
                said = datetime.strptime(f"{words[0]} {words[1]} {year}", "%d %B %Y").date()
                if len(words) == 2 and said > day:
                    said = said.replace(year=year - 1)
                assert 0 <= (day - said).days < 5
                checked += 1
    assert checked > 400


def test_holders_of_offices_are_those_of_the_year() -> None:
    for office, terms in world.offices().items():
        for left, right in itertools.pairwise(terms):
            assert right.first == left.last + 1
        for year in range(world.FIRST_YEAR, world.LAST_YEAR + 1):
            assert world.holder(office, year) != world.predecessor(office, year)
    people = [term.person for terms in world.offices().values() for term in terms]
    assert len(set(people)) == len(people)


def test_words_and_names_date_a_report_without_its_expressions_of_time(reports: list[dict]) -> None:
    """Naive Bayes over words outside of ``time`` spans, learnt on 9 of 10 reports: far better than 1 in 21."""
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    documents = []
    for report in reports:
        raw, text = report["text"], list(report["text"]["text"])
        for start, stop in raw["time"]:
            text[start:stop] = " " * (stop - start)
        names = [name for name in spans(report, "entity") if name in "".join(text)]
        documents.append(({*"".join(text).split(), *names, *spans(report, "noun")}, report["year"]))
    for number, (words, year) in enumerate(documents):
        if number % 10:
            counts[year].update(words)
    total = {year: sum(found.values()) for year, found in counts.items()}

    def dated(words: set[str]) -> int:
        return max(counts, key=lambda year: sum(math.log((counts[year][word] + 0.05) / total[year]) for word in words))

    held = [(words, year) for number, (words, year) in enumerate(documents) if number % 10 == 0]
    misses = [abs(dated(words) - year) for words, year in held]
    assert misses.count(0) / len(held) > 0.2
    assert sum(misses) / len(held) < 4
