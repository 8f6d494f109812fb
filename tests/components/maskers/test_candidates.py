"""Units of neighbours are cut where tokens stand that no masker sees."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from omnimask.components.maskers.candidates import put_back
from omnimask.interfaces import Masking


def masking(unit: list[int], entry: list[int] | None = None) -> Masking:
    number = np.array(unit, np.int64)
    is_target = number >= 0
    return Masking(~is_target, is_target, number, entry=None if entry is None else np.array(entry, np.int64))


def test_a_span_is_cut_at_a_special_token() -> None:
    found = put_back(masking([-1, 5, 5, 5, 2], [-1, 9, 9, 9, 3]), np.array([1, 2, 4, 5, 6]), 8)
    assert found.unit is not None and found.entry is not None
    assert found.unit.tolist() == [-1, -1, 0, -1, 1, 1, 2, -1]
    assert found.entry.tolist() == [-1, -1, -1, -1, -1, -1, 3, -1]  # what is left of an n-gram is not that n-gram


def test_scattered_units_and_uncut_ones_stay_as_they_are() -> None:
    scattered = put_back(masking([4, 7, 4, 4]), np.array([0, 1, 2, 4]), 5)
    assert scattered.unit is not None and scattered.unit.tolist() == [4, 7, 4, -1, 4]
    uncut = put_back(masking([4, 4, 7, 7]), np.array([0, 1, 3, 4]), 5)
    assert uncut.unit is not None and uncut.unit.tolist() == [4, 4, -1, 7, 7]


@given(st.lists(st.tuples(st.booleans(), st.integers(-1, 3)), max_size=30))
def test_pieces_are_stretches(cases: list[tuple[bool, int]]) -> None:
    """Whatever is hidden where, a unit that was one stretch is several stretches, each with a number of its own."""
    index = np.flatnonzero([not special for special, _ in cases])
    runs = np.cumsum(np.concatenate([[0], np.diff([cases[i][1] for i in index]) != 0])) if len(index) else np.zeros(0, int)
    unit = [int(run) if cases[i][1] >= 0 else -1 for i, run in zip(index, runs, strict=False)]
    found = put_back(masking(unit), index, len(cases))
    assert found.unit is not None
    for number in set(found.unit.tolist()) - {-1}:
        held = np.flatnonzero(found.unit == number)
        assert np.array_equal(held, np.arange(held[0], held[0] + len(held)))
    assert np.array_equal(found.unit >= 0, found.is_target)
