"""The script that measures the structure finds what was planted."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from .loaded import loaded

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def structure() -> Iterator[ModuleType]:
    with loaded("scripts", "structure") as module:
        yield module


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Rooms ``low``, ``mid`` and ``top`` in a chain, and a circle of ``left`` and ``right`` that types alone close."""
    files = {
        "__init__": "",
        "low": "import os\n",
        "mid/__init__": "from house.mid import inner\n",
        "mid/inner": "from house import low\n",
        "top": "def f():\n    from house.mid.inner import g\n",
        "left": "import house.right\n",
        "right": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.left import x\n",
    }
    for name, text in files.items():
        path = tmp_path / "house" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "house"


def test_arrows_levels_and_circles(structure: ModuleType, package: Path) -> None:
    graph = structure.graph_of(package)
    assert graph["house.mid.inner"] == {"house.low"} and graph["house.top"] == {"house.mid.inner"}
    rooms = structure.rooms_of(graph)
    assert rooms == {"__init__": set(), "low": set(), "mid": {"low"}, "top": {"mid"}, "left": {"right"}, "right": {"left"}}
    assert structure.circles_of(rooms) == [["left", "right"]]
    levels = structure.levels_of(rooms)
    assert (levels["low"], levels["mid"], levels["top"]) == (1, 2, 3) and levels["left"] == levels["right"] == 1
    assert structure.circles_of(structure.graph_of(package, only_at_import=True)) == []


def test_a_longer_circle_is_one(structure: ModuleType) -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"a"}}
    assert structure.circles_of(graph) == [["a", "b", "c"]]
    assert structure.levels_of(graph) == {"a": 2, "b": 2, "c": 2, "d": 1, "e": 3}


def test_sizes(structure: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "long.py"
    path.write_text("# why\ndef long():\n" + "    x = 1\n" * 70 + "\ndef short():\n    pass\n" + "y = 2\n" * 400)
    found = structure.sizes_of([path])
    assert found["files over 400 lines"] == {"long.py": 475}
    assert found["functions over 60 lines"] == {"long.py:long": 71} and found["function max"] == ("long.py:long", 71)
    assert found["comment share, %"] == round(100 / 475, 2)


def test_private_names_are_those_that_no_page_promises(structure: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import omnimask\nfrom omnimask.interfaces import Tokens\nfrom omnimask.data import order\n")
    public = structure.public_modules()
    assert {"omnimask.interfaces", "omnimask.packed", "omnimask.hookimpl"} <= public
    assert structure.private_imports(tmp_path, public) == {"omnimask.data.order": ["mine.py"]}


def test_the_project_is_measured(structure: ModuleType) -> None:
    found = structure.measure()
    assert found["rooms"] > 10 and found["circles of modules at import"] == []
    assert found["function p50"] <= found["function p90"] <= found["function max"][1]


EXCEPTIONS: dict[str, str] = {}
"""Functions and files that may be longer, with the reason."""


def test_functions_and_files_end_in_time(structure: ModuleType) -> None:
    found = structure.measure()
    longer = {**found["functions over 60 lines"], **found["files over 400 lines"]}
    assert longer.keys() == EXCEPTIONS.keys(), f"split them, or name them with a reason: {longer}"


def test_test_files_end_in_time(structure: ModuleType) -> None:
    found = structure.sizes_of(sorted((ROOT / "tests").rglob("*.py")))
    assert found["files over 400 lines"] == {}, "split them by subject; what they share goes to a conftest or a helper module"


SHARED_NAMES = {
    "Decoder": "public in omnimask.interfaces (of bytes) and in omnimask.modules (the predictor); the glossary tells them apart",
    "Plan": "the numbers of a recipe in the suggester of every modality plugin",
    "Survey": "the content of a folder in the suggester of every modality plugin",
}
"""Class names of several modules, with the reason."""


def test_a_class_name_has_one_meaning(structure: ModuleType) -> None:
    found = structure.measure()
    assert found["class names of several modules"].keys() == SHARED_NAMES.keys(), "rename them, or name them with a reason"
    assert found["constants of several modules"] == {}, "define them once"


def test_names_of_several_modules(structure: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("class Reader: ...\nclass _Plan: ...\n_ENDING = '.gz'\nFORMAT = 1\nT = TypeVar('T')\n")
    (tmp_path / "b.py").write_text("def f():\n    class Plan: ...\nclass Readers: ...\nENDING: str = '.gz'\n_FORMAT = 1\n")
    (tmp_path / "c.py").write_text("class A: ...\nclass A: ...\nENDING = '.bz2'\nT = TypeVar('T')\n")
    paths = sorted(tmp_path.iterdir())
    assert structure.shared_classes(paths) == {"Plan": ["a.py", "b.py"]}
    assert structure.copied_constants(paths) == {"ENDING = '.gz'": ["a.py", "b.py"]}


def test_nothing_goes_in_circles_and_plugins_import_public_names(structure: ModuleType) -> None:
    found = structure.measure()
    assert found["circles of modules"] == found["circles of rooms"] == []
    assert not any(found["private imports"].values())


def test_the_map_of_the_core_is_that_of_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    page = (ROOT / "docs" / "development.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", page, flags=re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, len(layers) + 1))
    assert [sorted(re.findall(r"`(\w+)`", rooms)) for _, rooms in reversed(rows)] == [
        sorted(layer.split(" | ")) for layer in layers
    ]
