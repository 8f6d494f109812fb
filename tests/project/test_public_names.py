"""Plugins, examples and pages import what the page on compatibility calls public, and nothing else."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from string import Template

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted((ROOT / "core" / "omnimask" / "scaffold").rglob("*.py.template"))
FOLDERS = [ROOT / name for name in ("examples", "plugins", "datasets")]
SOURCES = [*(path for folder in FOLDERS for path in sorted(folder.rglob("*.py"))), *TEMPLATES]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_CODE = re.compile(r"`([\w.]+)`")


def public() -> dict[str, set[str]]:
    """Names by module: the page's table, and ``__all__`` of the modules that have one."""
    text = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    table = text[text.index("## Public names") : text.index("Everything else")]
    found: dict[str, set[str]] = {"omnimask": set()}
    for line in table.splitlines():
        first, _, second = line.strip("|").partition("|")
        for name in _CODE.findall(first):
            module, _, attribute = name.rpartition(".")
            if is_module(name) and name != "omnimask":
                names = getattr(importlib.import_module(name), "__all__", None)
                found.setdefault(name, set()).update(_CODE.findall(second) if names is None else names)
            elif hasattr(importlib.import_module(module or "omnimask"), attribute):
                found.setdefault(module or "omnimask", set()).add(attribute)
    return found


def is_module(name: str) -> bool:
    try:
        return name.startswith("omnimask") and importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def imported(source: str) -> Iterator[tuple[int, str, str]]:
    """Line, module and name of everything imported from omnimask; what ``omnimask.name`` reads counts as imported."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "omnimask" and not node.level:
            yield from ((node.lineno, str(node.module), alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names if alias.name.startswith("omnimask."))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "omnimask":
            yield node.lineno, "omnimask", node.attr


def private(source: str, names: dict[str, set[str]]) -> list[str]:
    """What a module imports and must not."""
    return [
        f"{line}: {module}.{name}".rstrip(".")
        for line, module, name in imported(source)
        if name.startswith("_") or (name not in names.get(module, set()) and f"{module}.{name}" not in names)
    ]


def test_what_the_page_names_exists() -> None:
    names = public()
    assert {"omnimask.interfaces", "omnimask.testing", "omnimask.component", "omnimask.packed"} < names.keys()
    assert {"hookimpl", "load_recipe", "build", "Trainer"} <= names["omnimask"]
    for module, attributes in names.items():
        assert attributes, f"{module} is said to be public, and none of its names is"
        missing = [name for name in attributes if not hasattr(importlib.import_module(module), name)]
        assert not missing, f"{module} has no {missing}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_public_names_are_imported(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    if path in TEMPLATES:
        source = Template(source).safe_substitute(name="a", package="a", distribution="a", version="1")
    assert private(source, public()) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_import_public_names(path: Path) -> None:
    blocks = re.findall(r"^```python[^\n]*\n(.*?)^```$", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    names = public()
    assert [problem for block in blocks for problem in private(block, names)] == []


def test_every_module_of_the_root_is_public() -> None:
    """But the two that are entry points: of the core's own components, and of ``python -m omnimask``."""
    found = {f"omnimask.{path.stem}" for path in (ROOT / "core" / "omnimask").glob("*.py")}
    private_modules = {"omnimask.__init__", "omnimask.__main__", "omnimask.plugin"}
    assert found - private_modules <= public().keys()


@pytest.mark.parametrize(
    "source",
    [
        "from omnimask.components.maskers.random import RandomMasker",
        "import omnimask.data.planner",
        "from omnimask.packed import map_arrays",
        "from omnimask.interfaces import _private",
        "import omnimask\nomnimask.builder",
    ],
)
def test_the_check_finds_private_names(source: str) -> None:
    assert private(source, public())


def test_there_is_something_to_check() -> None:
    packages = {path.relative_to(ROOT).parts[1] for path in SOURCES if path not in TEMPLATES}
    assert packages >= {"omnimask-ssm", "omnimask-tabular", "omnimask-timeseries", "omnimask-waves", "omnimask_text"} and TEMPLATES
