"""The components that the pages on recipes, masking and texts show can be written in a recipe, and no masker is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from omnimask.recipe.options import Resolver
from omnimask.recipe.problems import Problems
from omnimask.recipe.yaml_text import parse
from omnimask.registry import KINDS, discover
from omnimask.registry.signature import WIRING_KEYS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("maskers.md", "corruptors.md", "text.md", "text-variants.md", "recipes.md")
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
        for kind, one in components(key, value):
            resolver.component(kind, one, (key,), apart=WIRING_KEYS.get(kind, ()))
    assert problems.messages() == []


def components(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The components that a key of a recipe holds, with their kinds."""
    match key:
        case "modalities" | "views":
            yield from (item for part in value.values() for key, one in part.items() for item in components(key, one))
        case "predictors":
            yield from (("predictor", one) for one in value)
        case "augment":
            yield from (("augment", one) for one in value)
        case "data" if "transform" in value.get("group", {}):
            yield "transform", value["group"]["transform"]
        case _ if key in KINDS and "name" in value:
            yield key, value


@pytest.mark.parametrize(("page", "kind"), [("maskers.md", "masker"), ("corruptors.md", "corruptor")])
def test_every_one_is_explained(page: str, kind: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    own = [entry.name for entry in discover().entries(kind) if entry.distribution == "omnimask" and "." not in entry.name]
    assert [name for name in own if f"`{name}`" not in text] == []
