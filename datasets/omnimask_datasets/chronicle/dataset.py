"""The generated reports as a data set."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from omnimask.interfaces import Context
from omnimask_datasets.chronicle.report import Report
from omnimask_datasets.chronicle.world import FIRST_YEAR, NUM_YEARS

EDITION = 1
"""Of the texts; a test holds them to it."""
NUM_REPORTS = 200 * NUM_YEARS


class Chronicle:
    """4,200 short English news reports with annotations and dates, written by a grammar; for trying and testing, not for results.

    Gives ``text``, a mapping with the text and its annotations; ``year``, the class of the report's year, 0 for 1987 to 20 for
    2007; and ``label``, which is the same. There are 200 reports of every year.

    The annotations are lists of [start, stop] or [start, stop, class] in characters: ``entity`` (``person``, ``place`` or
    ``organisation``), ``noun``, ``verb``, ``time`` (expressions of time) and ``signal`` (what relates a time to the rest: on,
    since, before). A tokenizer reads those that it is told of: ``annotations: {entity: [person, place, organisation], noun: span,
    verb: span, time: span, signal: span}``.

    What the reports say is invented. It depends on their year as news do: offices change hands, companies, things and topics come
    and go, and expressions of time say when something was. A report is a pure function of its number.
    """

    def __init__(self, context: Context) -> None:
        del context

    def __len__(self) -> int:
        return NUM_REPORTS

    def key(self, index: int) -> str:
        """``reports/0000`` and so on."""
        return f"reports/{range(NUM_REPORTS)[index]:04d}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        """``text``, ``year`` and ``label``."""
        report = Report(range(NUM_REPORTS)[index])
        page = report.write()
        year = report.year - FIRST_YEAR
        return {"text": {"text": page.text, **page.spans}, "year": year, "label": year}

    def fingerprint(self) -> str:
        """Of the edition."""
        return blake2b(f"chronicle {EDITION} {NUM_REPORTS}".encode(), digest_size=16).hexdigest()
