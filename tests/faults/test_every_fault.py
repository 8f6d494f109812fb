"""Every row of ``docs/faults.md``: the fault is made in a real run, which ends, counts and says what the row promises."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from . import sample_faults, shard_faults, step_faults, stop_faults
from .lab import Lab

pytest.importorskip("webdataset")
pytest.importorskip("fsspec")

ROOT = Path(__file__).parents[2]
FAULTS = shard_faults.FAULTS | sample_faults.FAULTS | step_faults.FAULTS | stop_faults.FAULTS
PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")


def table() -> dict[str, Sequence[str]]:
    """The rows of the page's table by their first cell."""
    lines = [line for line in PAGE.partition("## Every fault")[2].partition("\n## ")[0].splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: rest for first, *rest in cells[1:]}


@pytest.mark.parametrize("name", FAULTS)
def test_the_outcome_is_what_the_page_says(name: str, lab: Lab) -> None:
    assert name in table(), f"docs/faults.md lacks a row for {name!r}"
    _, counted, code = table()[name]
    FAULTS[name](lab)
    assert str(lab.code) == code, lab.log
    for key in re.findall(r"`(\w+)`", counted):
        assert key in (lab.last if (lab.run / "metrics.jsonl").exists() else {}) or key in lab.summary, key


def test_every_row_of_the_page_is_tested() -> None:
    assert set(table()) == set(FAULTS)
