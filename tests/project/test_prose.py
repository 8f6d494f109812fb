"""The script that counts turns of phrase counts what is there, and nothing in code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from .loaded import loaded

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def prose() -> Iterator[ModuleType]:
    with loaded("scripts", "prose") as module:
        yield module


def test_docstrings_are_read_and_code_is_not(prose: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(
        '"""What a run needs."""\nx = "what it says"  # says\n\n\ndef f():\n    """It says ``that``, and that is no joke."""\n'
    )
    assert [number for number, _ in prose.texts(path)] == [1, 6]
    found = prose.rates([path])
    words = found["words"]
    expected = {"what": 1, "starts": 1, "says": 1, "is no": 1, "that": 1}
    assert {name: round(found[name] * words / 1e4) for name in expected} == expected
    assert list(prose.lines([path], "says")) == [f"{path}:6: It says , and that is no joke."]


def test_messages_are_read_and_other_strings_are_not(prose: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(
        'x = "what it says"\n\n\ndef f(y: int = Field(description="what is read")):\n'
        '    """It says that."""\n    raise ValueError(f"{y} is no number, and " + "that is it")\n'
        'UserError("says nothing")\n'
    )
    assert sorted(text for _, text in prose.texts(path, "messages")) == [
        "_ is no number, and ",
        "says nothing",
        "that is it",
        "what is read",
    ]
    found = prose.rates([path], "messages")
    expected = {"what": 1, "starts": 0, "says": 1, "is no": 1, "that": 1}
    assert {name: round(found[name] * found["words"] / 1e4) for name in expected} == expected


def test_pages_are_read_without_their_code(prose: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("# Title\n\nThat is plain. Where it lies.\n\n```\nWhat says that\n```\n\n[a page](what-that.md) `says`\n")
    found = prose.rates([path])
    assert {name: round(found[name] * found["words"] / 1e4) for name in prose.PATTERNS} == {
        "what": 0,
        "starts": 2,
        "says": 0,
        "is no": 0,
        "that": 1,
    }


def test_the_project_is_counted(prose: ModuleType) -> None:
    kinds = prose.sources()
    assert kinds["messages"] == kinds["docstrings"] and prose.rates(kinds["messages"], "messages")["words"] > 5_000
    assert len(kinds["docstrings"]) > 300 and len(kinds["pages"]) > 20
    assert not any("reference" in path.parts for path in kinds["pages"])
    assert {path.suffix for path in kinds["examples"]} == {".py", ".template"} and len(kinds["examples"]) > 40
    assert not set(kinds["examples"]) & set(kinds["docstrings"])


def test_templates_are_read_like_modules(prose: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "core" / "omnimask" / "scaffold"
    folder.mkdir(parents=True)
    (folder / "a.py.template").write_text('"""It says $name."""\n')
    (folder / "b.py.template").write_text('"""It says $name."""\nfrom $package import x\n')
    assert [path.name for path in prose.examples(tmp_path)] == ["a.py.template"]
    assert list(prose.texts(folder / "a.py.template")) == [(1, "It says $name.")]


LIMITS = {"what": 2.5, "starts": 2.0, "says": 0.5}
MESSAGES = {"is no": 8.0, "that": 60.0}
"""Per 10,000 words, the latter for messages only; docs/development.md has the figures."""


def test_the_prose_stays_readable(prose: ModuleType) -> None:
    for kind, paths in prose.sources().items():
        found = prose.rates(paths, kind)
        limits = LIMITS | MESSAGES if kind == "messages" else LIMITS
        assert {name: round(found[name], 1) for name in limits if found[name] > limits[name]} == {}, kind
