"""The glossary names what there is."""

from __future__ import annotations

import re
from pathlib import Path

from omnimask import interfaces
from omnimask.registry import KINDS

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "glossary.md").read_text(encoding="utf-8")
ROWS = [line.split("|")[1].strip() for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| term")]


def test_types_are_those_of_the_interfaces() -> None:
    named = {name for row in ROWS for name in re.findall(r"`([A-Z]\w+)`", row)}
    assert named <= set(interfaces.__all__)
    assert len(named) > 30


def test_every_kind_of_component_with_a_protocol_is_defined() -> None:
    protocols = {kind.title().replace("_", "") for kind in KINDS} & set(interfaces.__all__)
    assert protocols <= {name for row in ROWS for name in re.findall(r"`(\w+)`", row)}


def test_no_term_stands_twice() -> None:
    assert len(ROWS) == len(set(ROWS)) and len(ROWS) >= 75
