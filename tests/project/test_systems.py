"""docs/systems.yaml is held against the code: what runs is shipped and tested; what is expressible lacks what it names alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from omnimask.errors import UserError
from omnimask.recipe import load_recipe, shipped_recipes
from omnimask.registry import KINDS, discover

ROOT = Path(__file__).resolve().parents[2]
DATA: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "systems.yaml").read_text(encoding="utf-8"))
SYSTEMS: list[dict[str, Any]] = DATA["systems"]
KEYS = {"runs": {"recipe", "test", "shows"}, "expressible": {"recipe", "missing"}, "open": {"seam"}}


def of(status: str) -> list[Any]:
    return [pytest.param(system, id=system["system"]) for system in SYSTEMS if system["status"] == status]


def test_every_system_says_what_its_status_asks_for() -> None:
    for system in SYSTEMS:
        assert set(system) == {"system", "group", "modality", "status"} | KEYS[system["status"]], system["system"]
    names = [system["system"] for system in SYSTEMS]
    assert len(set(names)) == len(names)
    assert sum(len(name.split(", ")) for name in names) > 80


@pytest.mark.parametrize("system", of("runs"))
def test_what_runs_is_shipped_and_tested(system: dict[str, Any]) -> None:
    assert system["recipe"] in shipped_recipes(discover())
    text = (ROOT / system["test"]).read_text(encoding="utf-8")
    assert "def test_" in text or "Contract)" in text  # whose tests are inherited


@pytest.mark.parametrize("system", of("expressible"))
def test_what_is_expressible_lacks_only_the_components_it_names(system: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(system["recipe"]), encoding="utf-8")
    with pytest.raises(UserError) as error:
        load_recipe(path)
    missing = [tuple(each.split()) for each in system["missing"]]
    assert missing
    assert all(kind in KINDS for kind, _ in missing)
    unknown = {each: f"unknown {each[0]} {each[1]!r}" for each in missing}
    for message in error.value.messages:
        assert any(text in message for text in unknown.values()), message
    for text in unknown.values():
        assert any(text in message for message in error.value.messages), text


def test_every_seam_is_waited_for() -> None:
    waiting = [system["seam"] for system in SYSTEMS if system["status"] == "open"]
    assert set(waiting) == set(DATA["seams"])
