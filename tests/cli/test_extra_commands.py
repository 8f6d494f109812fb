"""Commands that plugins add."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omnimask.cli import root
from omnimask.registry import commands, discover

Command = Callable[..., Any]

GREET = '''
from pathlib import Path
from typing import Annotated

import typer

print("imported")


def greet(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whom to greet.")],
    times: Annotated[int, typer.Option("--times", "-n", min=1, help="How often.")] = 1,
    output: Path | None = None,
) -> None:
    """Greets somebody
    politely.

    And says no more.
    """
    if name == "nobody":
        raise omnimask.errors.UserError("nobody is there")
    print(" ".join(["hello " + name] * times), output)
'''
PLUGIN = "import omnimask\n\n@omnimask.hookimpl\ndef omnimask_register(registry): ...\n"
POINTS = "[omnimask]\ngreeting = greeting_plugin\n\n[omnimask.commands]\ngreet = greeting.words:greet\n"


@pytest.fixture
def greeting(distribution: Callable[..., Path]) -> Path:
    """A distribution with one plugin and one command."""
    source = {"greeting/__init__": "", "greeting/words": "import omnimask.errors\n" + GREET, "greeting_plugin": PLUGIN}
    return distribution("greeting-dist", source, POINTS)


@pytest.mark.usefixtures("greeting")
def test_a_command_is_listed_without_being_imported_and_runs_when_called(omnimask: Command) -> None:
    helped = omnimask("--help")
    assert helped.code == 0 and "imported" not in helped.out
    assert "Commands of plugins" in helped.out and "Greets somebody politely." in helped.out
    assert "greeting.words" not in sys.modules and "greeting" not in sys.modules
    told = omnimask("greet", "world", "-n", "2", "--output", "x")
    assert (told.code, told.out) == (0, "imported\nhello world hello world x\n")
    mine = omnimask("greet", "-h")
    assert mine.code == 0 and "Whom to greet." in mine.out and "omnimask greet" in mine.out
    wrong = omnimask("greet", "world", "--times", "0")
    assert wrong.code == 2 and "--times" in wrong.errors[0] and "omnimask greet --help" in wrong.errors[0]
    assert omnimask("greet", "nobody").errors == ["nobody is there"]
    assert "Did you mean 'greet'?" in omnimask("great").errors[0]


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys, omnimask.cli\n"
        "assert omnimask.cli.main(['--help']) == 0\n"
        "found = {'torch', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "found |= {name for name in sys.modules if name.startswith('omnimask_')}\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("source", "reference", "cause"),
    [
        ("import a_module_that_nobody_has", "m", "No module named 'a_module_that_nobody_has'"),
        ("import a_module_that_nobody_has", "m [speech]", "pip install 'broken-dist[speech]'"),
        ("def helper():\n    return 1 / 0\nhelper()", "m", "in helper"),
        ("raise SystemExit(3)", "m", "SystemExit: 3"),
        ("def other(): ...", "m", "has no attribute 'run'"),
        ("run = 3", "m", "is not a function but 3"),
        ("def run(x: int | str): ...", "m", "is not a valid command"),
        ("def run(: ...", "m", "SyntaxError"),
    ],
)
def test_a_command_that_cannot_be_imported_says_why_when_it_is_called(
    omnimask: Command, distribution: Callable[..., Path], source: str, reference: str, cause: str
) -> None:
    module, _, extra = reference.partition(" ")
    distribution("broken-dist", {f"broken_{module}": source}, f"[omnimask.commands]\nbreak = broken_{module}:run {extra}\n")
    assert omnimask("--help").code == 0
    assert "break" in omnimask("--help").out
    has_trace = "pip install" not in cause and "not a function" not in cause
    result = omnimask("break", traceback=has_trace)
    assert result.code == 2
    assert "command 'break' of broken-dist 1.0" in result.errors[0] and cause in result.err
    if "valid command" not in cause:
        checked = omnimask("plugins", "--check", traceback=has_trace)
        assert checked.code == 1 and cause in checked.err


def test_a_name_that_is_taken_names_both_distributions(omnimask: Command, distribution: Callable[..., Path]) -> None:
    points = "[omnimask.commands]\nplugins = other_words:greet\ngreet = other_words:greet\n"
    distribution("first-dist", {"other_words": "def greet() -> None:\n    print('hi')\n"}, points)
    distribution("second-dist", {}, "[omnimask.commands]\ngreet = other_words:greet\n", version="2.0")
    assert omnimask("--help").code == 0
    refused = omnimask("greet")
    assert refused.code == 2
    assert "command 'greet' is ambiguous: first-dist 1.0 and second-dist 2.0 both define it" in refused.errors[0]
    found = json.loads(omnimask("plugins", "--json").out)
    assert found["problems"][0].startswith("command 'plugins' of first-dist 1.0 cannot be used")
    assert "(omnimask) has a command of this name" in found["problems"][0]
    assert found["problems"][1] == refused.errors[0]


def test_the_allow_list_applies(greeting: Path, monkeypatch: pytest.MonkeyPatch, distribution: Callable[..., Path]) -> None:
    points = "[omnimask]\na = both_a.plugin\nb = both_b.plugin\n[omnimask.commands]\nto-a = both_a.run:main\nto-all = both:main\n"
    distribution("both-dist", {}, points)
    distribution("only-dist", {}, "[omnimask.commands]\nonly = only:main\n")
    expected = {"": {"greet", "to-a", "to-all", "only"}, "greeting": {"greet"}, "a": {"to-a", "to-all"}, "b": {"to-all"}}
    for allowed, names in expected.items():
        monkeypatch.setenv("OMNIMASK_PLUGINS", allowed)
        commands.find.cache_clear()
        discover(refresh=True)
        assert {"greet", "to-a", "to-all", "only"} & set(root().commands) == names
