"""Every masker, corruptor and augmentation that the pages on masking show can be written in a recipe, and none is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from omnimask.recipe.options import Resolver
from omnimask.recipe.problems import Problems
from omnimask.recipe.text import parse
from omnimask.registry import discover

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("maskers.md", "corruptors.md")
FENCE = re.compile(r"^```yaml\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def snippets() -> list[str]:
    """Keys with their values, one for each line that begins at the left."""
    text = "\n".join(block for page in PAGES for block in FENCE.findall((DOCS / page).read_text(encoding="utf-8")))
    return [part for part in re.split(r"^(?=\S)", text, flags=re.MULTILINE) if part.strip()]


@pytest.mark.parametrize("text", snippets())
def test_what_the_pages_show_can_be_written(text: str) -> None:
    document, problems = parse(text, "page"), Problems()
    resolver = Resolver(document, discover(), problems)
    for key, value in document.data.items():
        if key in ("modalities", "predictors"):
            parts = value.values() if key == "modalities" else [{"predictor": one} for one in value]
            for kind, one in (item for part in parts for item in part.items()):
                resolver.component(kind, one, (key,))
        else:
            for one in value if key == "augment" else [value]:
                resolver.component(key, one, (key,))
    assert problems.messages() == []


@pytest.mark.parametrize(("page", "kind"), [("maskers.md", "masker"), ("corruptors.md", "corruptor")])
def test_every_one_is_explained(page: str, kind: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    own = [entry.name for entry in discover().entries(kind) if entry.distribution == "omnimask" and "." not in entry.name]
    assert [name for name in own if f"`{name}`" not in text] == []
