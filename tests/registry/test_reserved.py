"""Names that plugins cannot take, what they misspell, what they print, and whose bug an error is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omnimask.cli import main
from omnimask.recipe import load_recipe
from omnimask.registry import discover

Distribution = Callable[..., Path]

HEAD = "import omnimask\n\n@omnimask.hookimpl\ndef omnimask_register(registry):\n"
RECIPE = """
omnimask: 1
device: cpu
modalities:
  image:
    tokenizer: {name: image.patch, image_size: 8, patch_size: 4, channels: 1}
    masker: {name: random, ratio: 0.5}
    corruptor: {name: drop}
encoder: {name: transformer, width: 16, depth: 1, heads: 2}
predictors: [{name: decoder, width: 16, depth: 1, heads: 2, target: {name: patch}}]
data: {name: digits, max_validation: 8}
train: {steps: 1, batch_tokens: 64, optimizer: {name: adamw, lr: 1e-3}}
"""
PRINTING = """
import os
import subprocess
import omnimask

print("hello from an import")
os.write(1, b"hello from C\\n")
subprocess.run(["echo", "hello from a child"])


class Ours:
    '''Hides nothing.'''

    def __init__(self, context): ...


@omnimask.hookimpl
def omnimask_register(registry):
    print("hello from a hook")
    registry.add_masker("loud.ours", "loud:Ours")
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("kind", "name"), [("masker", "random"), ("tokenizer", "image.patch"), ("dataset", "digits"), ("optimizer", "adamw")]
)
def test_names_of_omnimask_are_reserved(distribution: Distribution, file: Path, kind: str, name: str) -> None:
    distribution("zebra", {"zebra": HEAD + f"    registry.add('{kind}', '{name}', 'zebra:Ours')\n"}, "[omnimask]\nzebra = zebra\n")
    distribution("aardvark", {"aardvark": HEAD + f"    registry.add('{kind}', '{name}', 'x:Y')\n"}, "[omnimask]\na = aardvark\n")
    failures = {failure.plugin.distribution: failure.cause for failure in discover().failures}
    for plugin in ("zebra", "aardvark"):
        assert f"{kind} {name!r} is a component of omnimask; choose another name" in failures[plugin]
    assert discover().entry(kind, name).distribution == "omnimask"
    load_recipe(file)


@pytest.mark.parametrize("name", ["", "two words", "a=b", "a.", ".a", "{a}", "a\nb", "a/b", 3])
def test_names_that_no_recipe_could_write_are_refused(distribution: Distribution, name: Any) -> None:
    distribution("odd", {"odd": HEAD + f"    registry.add_masker({name!r}, 'odd:Ours')\n"}, "[omnimask]\nodd = odd\n")
    (failure,) = discover().failures
    assert "a name consists of letters, digits, _ and -, separated by dots" in failure.cause


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        (HEAD.replace("_register", "_registre") + "    ...\n", "unknown hook 'omnimask_registre'"),
        (HEAD + "    registry.add_maskr('a.b', 'c:D')\n", "no attribute 'add_maskr' (did you mean 'add_masker'?)"),
    ],
)
def test_what_is_misspelt_is_suggested(distribution: Distribution, source: str, cause: str) -> None:
    distribution("odd", {"odd": source}, "[omnimask]\nodd = odd\n")
    (failure,) = discover().failures
    assert cause in failure.cause and "did you mean" in failure.cause
    assert "omnimask_register" in failure.cause or "add_masker" in failure.cause


def test_a_plugin_that_prints_spoils_no_answer(distribution: Distribution, capfd: pytest.CaptureFixture[str]) -> None:
    distribution("loud", {"loud": PRINTING}, "[omnimask]\nloud = loud\n")
    assert main(["plugins", "--json", "--check"]) == 0
    captured = capfd.readouterr()
    found = json.loads(captured.out)
    assert "loud" in {row["plugin"] for row in found["plugins"]}
    assert all(f"hello from {what}" in captured.err for what in ("an import", "C", "a child", "a hook"))


def test_the_schema_of_the_json(capfd: pytest.CaptureFixture[str]) -> None:
    """As docs/command-line.md shows it."""
    assert main(["plugins", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["format"] == 1
    assert set(found) == {"format", "plugins", "problems", "left_out", "checked"}
    keys = {"plugin", "distribution", "version", "entry_point", "components", "recipes", "hooks", "commands", "failure"}
    assert all(set(row) == keys for row in found["plugins"])
    assert all(set(part) == {"kind", "name", "reference"} for row in found["plugins"] for part in row["components"])


BROKEN = HEAD + "    registry.add_masker('mine.ours', 'mine:Ours')\n\n\nclass Ours:\n    '''Ours.'''\n\n"
BROKEN += "    def __init__(self, context):\n        {}['gone']\n"


def test_a_bug_is_that_of_the_plugin_whose_file_is_in_the_traceback(
    distribution: Distribution, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    distribution("mine-dist", {"mine": BROKEN}, "[omnimask]\nmine = mine\n")
    assert main(["inspect", str(file), "modalities.image.masker={name: mine.ours}"]) == 70
    assert "KeyError: this is a bug of plugin 'mine' of mine-dist 1.0 (" in capfd.readouterr().err


def test_a_plugin_that_is_gone_is_named_with_its_version(
    distribution: Distribution, file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    masker = "from omnimask.components.maskers.random import RandomMasker\n\n\nclass Ours(RandomMasker):\n    '''Ours.'''\n"
    plugin = HEAD + "    registry.add_masker('gone.ours', 'gone_parts:Ours')\n"
    info = distribution("gone-dist", {"gone": plugin, "gone_parts": masker}, "[omnimask]\ngone = gone\n")
    assert main(["pretrain", str(file), "modalities.image.masker={name: gone.ours, ratio: 0.5}", "--run", "a"]) == 0
    for part in info.iterdir():
        part.unlink()
    info.rmdir()
    discover(refresh=True)
    capfd.readouterr()
    assert main(["resume", "a"]) == 2
    error = capfd.readouterr().err
    assert "the run used gone-dist==1.0 (masker gone.ours), which is not installed here: pip install 'gone-dist==1.0'" in error
