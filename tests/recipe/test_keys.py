"""A key of a recipe's section is declared once: validation, hints, YAML, reserved names and documentation follow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest

from omnimask.component import Component, named
from omnimask.recipe import config, describe, keys
from omnimask.recipe.keys import SPREAD, Key
from omnimask.registry.signature import WIRING_KEYS, Option

PAGE = Path(__file__).resolve().parents[2] / "docs" / "recipes.md"
SECTIONS = [
    config.Recipe,
    config.ModalityConfig,
    config.LabelConfig,
    config.ViewConfig,
    config.PassConfig,
    config.PredictorConfig,
    config.GroupConfig,
]


@dataclass(frozen=True)
class Inner:
    size: Annotated[int, Key("how many", type=int)] = 1


@dataclass(frozen=True)
class Outer:
    part: Annotated[Component[Any], SPREAD]
    of: Annotated[tuple[str, ...], Key("names", type=list[str] | None)]
    depth: Annotated[int | None, Key("how deep", type=int | None)]
    rate: Annotated[float, Key("how fast", type=float, unset=2.0)]
    masker: Annotated[Component[Any] | None, Key("a masker", kind="masker")] = None
    inner: Annotated[Inner, Key("inside", name="in")] = Inner()
    origin: str = "not written"


def test_a_declaration_gives_names_options_and_kinds() -> None:
    assert keys.names(Outer) == ("of", "depth", "rate", "masker", "in")
    assert keys.values(Outer) == {
        "of": Option("of", list[str] | None, None, "names"),
        "depth": Option("depth", int | None, None, "how deep"),
        "rate": Option("rate", float, 2.0, "how fast"),
    }
    assert keys.kinds(Outer) == {"masker": "masker"}
    shown = [(each.name, each.type, each.default, each.description) for each in describe(Outer)]
    assert shown == [
        ("of", "list of text | null", "", "names"),
        ("depth", "int | null", "", "how deep"),
        ("rate", "float", "2.0", "how fast"),
        ("masker", "masker component", "", "a masker"),
        ("in", "", "", "inside"),
    ]


def test_a_section_is_written_without_empty_defaults() -> None:
    predictor = named("predictor", "mlm", tied=True)
    assert keys.written(Outer(predictor, ("a",), None, 1.0)) == {
        "name": "mlm",
        "tied": True,
        "of": ["a"],
        "depth": None,
        "rate": 1.0,
    }
    found = keys.written(Outer(predictor, (), 3, 1.0, named("masker", "span"), Inner(2)))
    assert found["masker"] == {"name": "span"} and found["in"] == {"size": 2} and "origin" not in found


def test_names_of_wiring_are_reserved_for_it() -> None:
    """The registry refuses components whose options have these names, and cannot import the recipe's sections."""
    assert keys.names(config.PredictorConfig) == WIRING_KEYS["predictor"]
    assert keys.names(config.EncoderConfig) == WIRING_KEYS["encoder"]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_key_is_explained(section: type) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in keys.names(section) if f"`{name}`" not in text and f"{name}:" not in text] == []
    assert all(key.description for key in describe(section))
