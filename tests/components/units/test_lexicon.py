"""Lexicons: what is found in a corpus, what a file keeps, and how a sample is cut."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnimask.components.units.lexicon import Lexicon, build_lexicon, read_lexicon, stretches_of

WORDS = Lexicon(10, ((1, 2), (2, 3), (1, 2, 3), (3, 4, 5), (5, 5)), (4.0, 3.0, 2.0, 1.5, 0.1))


def cut(lexicon: Lexicon, ids: list[int]) -> list[tuple[int, ...]]:
    units = lexicon.segment(np.array(ids, np.int64))
    ends = np.cumsum(units.size).tolist()
    pieces = [tuple(ids[start:stop]) for start, stop in zip([0, *ends], ends, strict=False)]
    for piece, number in zip(pieces, units.entry.tolist(), strict=True):
        assert len(piece) == 1 if number < 0 else lexicon.ngrams[number] == piece
    return pieces


def test_every_ngram_is_found_where_it_begins() -> None:
    bigrams, trigrams = WORDS.found(np.array([1, 2, 3, 4, 5, 5]))
    assert bigrams.tolist() == [0, 1, -1, -1, 4, -1]
    assert trigrams.tolist() == [2, -1, 3, -1, -1, -1]


def test_a_sample_is_the_fewest_units() -> None:
    """Taking the longest n-gram first, 1 2 3, would leave 4 5 as two units: three instead of two."""
    assert cut(WORDS, [1, 2, 3, 4, 5]) == [(1, 2), (3, 4, 5)]
    assert cut(WORDS, [1, 2, 3, 9]) == [(1, 2, 3), (9,)]
    assert cut(WORDS, [5, 5, 5]) == [(5, 5), (5,)]
    assert cut(WORDS, []) == []


@given(st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=4), max_size=8), st.lists(st.integers(0, 3), max_size=12))
def test_no_way_of_cutting_has_fewer_units(ngrams: list[list[int]], ids: list[int]) -> None:
    known = tuple(dict.fromkeys(map(tuple, ngrams)))
    lexicon = Lexicon(4, known, (1.0,) * len(known))
    pieces = cut(lexicon, ids)
    assert list(itertools.chain(*pieces)) == ids
    fewest = [0] * (len(ids) + 1)
    for stop in range(1, len(ids) + 1):
        parts = [start for start in range(stop) if stop - start == 1 or tuple(ids[start:stop]) in known]
        fewest[stop] = 1 + min(fewest[start] for start in parts)
    assert len(pieces) == fewest[-1]


def test_the_statistic_by_hand() -> None:
    """0 1 0 1 0 1 2 2: of 7 bigrams 3 are 0 1, 2 are 1 0; tokens 0, 1 have shares 3/8 each."""
    lexicon = build_lexicon([np.array([0, 1, 0, 1, 0, 1, 2, 2])], 3, sizes=(2,), min_count=2)
    assert lexicon.ngrams == ((0, 1), (1, 0))
    first, second = ((p - 9 / 64) / np.sqrt(p * (1 - p) / 7) for p in (3 / 7, 2 / 7))
    assert lexicon.scores == pytest.approx((first, second))


def test_planted_collocations_are_found() -> None:
    """In 60,000 random ids of 50, three bigrams and two trigrams are planted every 40 tokens or so; they lead their lists."""
    rng = np.random.default_rng(0)
    planted = [(3, 7), (11, 11), (40, 2), (5, 6, 9), (30, 31, 8)]
    parts = []
    for _ in range(2000):
        parts += [rng.integers(0, 50, 28), np.array(planted[rng.integers(5)])]
    lexicon = build_lexicon([np.concatenate(parts)], 50, sizes=(7, 2), min_count=5)
    assert set(planted[3:]) == set(lexicon.ngrams[7:])
    inside = {(5, 6), (6, 9), (30, 31), (31, 8)}
    assert set(lexicon.ngrams[:7]) == set(planted[:3]) | inside


def test_ngrams_reach_across_no_border() -> None:
    parts = [np.array([0, 1]), np.array([2, 3])] * 9
    lexicon = build_lexicon(parts, 4, sizes=(9, 9), min_count=2)
    assert set(lexicon.ngrams) == {(0, 1), (2, 3)}
    special = np.array([False, False, True, False, True, True, False])
    assert [part.tolist() for part in stretches_of(np.arange(7), special)] == [[0, 1], [3], [6]]
    assert [part.tolist() for part in stretches_of(np.arange(3), None)] == [[0, 1, 2]]


def test_rare_ngrams_and_empty_corpora() -> None:
    assert len(build_lexicon([np.arange(9)], 9, sizes=(5, 5), min_count=2)) == 0
    assert len(build_lexicon([], 9, sizes=(5,))) == 0
    assert build_lexicon([], 9, sizes=(5,)).segment(np.array([1, 2])).size.tolist() == [1, 1]


@given(st.lists(st.lists(st.integers(0, 30_000), min_size=2, max_size=5), max_size=20), st.data())
def test_files_keep_everything(tmp_path_factory, ngrams: list[list[int]], data: st.DataObject) -> None:
    known = tuple(dict.fromkeys(map(tuple, ngrams)))
    scores = tuple(data.draw(st.lists(st.floats(allow_nan=False), min_size=len(known), max_size=len(known))))
    lexicon, path = Lexicon(30_001, known, scores), tmp_path_factory.mktemp("lexicon") / "lexicon.txt"
    lexicon.save(path)
    assert read_lexicon(path) == lexicon


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "begins with 'nothing'"),
        (
            lambda text: text.replace("lexicon 1", "lexicon 2"),
            "begins with '# omnimask lexicon 2' instead of '# omnimask lexicon 1'",
        ),
        (lambda text: text.replace("# vocabulary 10", "# vocabulary ten"), ":2: must be '# vocabulary NUMBER'"),
        (lambda text: text.rsplit("\n", 2)[0], "is truncated or was changed: it declares 5 n-grams but has 4"),
        (lambda text: text.replace("3 4 5", "3 four 5"), ":7: must be 'SCORE TAB ID ID ...', not '1.5\\\\t3 four 5'"),
        (lambda text: text.replace("3 4 5", "3"), r"n-gram 3 \(3\) has fewer than two ids"),
        (lambda text: text.replace("3 4 5", "3 14"), r"n-gram 3 \(3 14\) contains an id outside the vocabulary of 10"),
        (lambda text: text.replace("3 4 5", "1 2"), r"duplicate n-gram 3 \(1 2\)"),
        (lambda text: text.replace("3 4 5", "3 \u00e9"), "is not a lexicon"),
    ],
)
def test_damaged_files(tmp_path: Path, change, message: str) -> None:
    path = tmp_path / "lexicon.txt"
    WORDS.save(path)
    path.write_text(change(path.read_text(encoding="ascii")), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_lexicon(path)
