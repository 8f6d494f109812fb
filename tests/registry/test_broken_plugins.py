"""Plugins broken in every way that there is, installed side by side: everything else works, and each is explained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from omnimask.cli import main
from omnimask.errors import UserError
from omnimask.recipe import load_recipe
from omnimask.registry import discover

Distribution = Callable[..., Path]

HEAD = "import omnimask\n\n@omnimask.hookimpl\n"
GOOD = HEAD + "def omnimask_register(registry):\n    registry.add_masker('{name}.ours', '{name}_parts:Ours')\n"
PARTS = "class Ours:\n    '''Ours.'''\n\n    def __init__(self, context): ...\n"

RECIPE = """
omnimask: 1
modalities:
  image:
    tokenizer: {name: image.patch, image_size: 8, patch_size: 4, channels: 1}
    masker: {name: %s}
    corruptor: {name: drop}
encoder: {name: transformer, width: 16, depth: 1, heads: 2}
predictors: [{name: decoder, width: 16, depth: 1, heads: 2, target: {name: patch}}]
data: {name: digits}
train: {steps: 1, batch_tokens: 64, optimizer: {name: adamw, lr: 1e-3}}
"""

SOURCES = {
    "imports": "import a_module_that_nobody_has\n",
    "misspells": GOOD.replace("omnimask_register", "omnimask_registr"),
    "argument": GOOD.replace("(registry)", "(registri)"),
    "raises": GOOD + "    raise RuntimeError('the registration broke half way')\n",
    "exits": "raise SystemExit('leaving')\n",
    "syntax": "def omnimask_register(registry:\n",
    "twice": GOOD + "    registry.add_masker('{name}.ours', '{name}_parts:Ours')\n",
    "newer": GOOD,
    "second_hook": GOOD + "\n@omnimask.hookimpl\ndef omnimask_stepend(run): ...\n",
}
CAUSES = {
    "imports": "ModuleNotFoundError: No module named 'a_module_that_nobody_has'",
    "misspells": "unknown hook 'omnimask_registr'",
    "argument": "registri",
    "raises": "RuntimeError: the registration broke half way",
    "exits": "SystemExit: leaving",
    "syntax": "SyntaxError",
    "twice": "masker 'twice.ours' is registered twice by plugin 'twice' of twice-dist 1.0",
    "newer": "newer-dist 1.0 requires omnimask>=99, and this is omnimask",
    "second_hook": "unknown hook 'omnimask_stepend'",
    "nowhere": "ModuleNotFoundError: No module named 'nowhere_at_all'",
    "no_attribute": "has no attribute 'missing'",
    "no_reference": "the entry point '!!!' is invalid",
}
"""Of the plugins that are not even registered."""

LATE = {
    "needs": ("registry.add_masker('needs.ours', 'needs_parts:Ours', extra='gpu')", "pip install 'needs-dist[gpu]'"),
    "gone": ("registry.add_masker('gone.ours', 'gone_partts:Ours')", "No module named 'gone_partts'"),
    "swallows": ("registry.add_masker('swallows.ours', 'swallows_parts:Ours')", "**options would accept misspelled options"),
}
"""Components that cannot be loaded, of plugins that can be."""

LATE_PARTS = {
    "needs": "import a_module_that_nobody_has\n",
    "gone": "",
    "swallows": "class Ours:\n    def __init__(self, context, **options): ...\n",
}


@pytest.fixture
def broken(distribution: Distribution, tmp_path: Path) -> Path:
    """All of them, two plugins with one name for two components, damaged metadata, and one plugin that works."""
    for name, source in SOURCES.items():
        requires = ["numpy>=1", "omnimask[image]>=99; python_version > '3'"] if name == "newer" else ()
        files = {f"{name}_plugin": source.replace("{name}", name)}
        distribution(f"{name}-dist", files, f"[omnimask]\n{name} = {name}_plugin\n", requires=requires)
    for name, (line, _) in LATE.items():
        files = {f"{name}_plugin": HEAD + f"def omnimask_register(registry):\n    {line}\n", f"{name}_parts": LATE_PARTS[name]}
        distribution(f"{name}-dist", files, f"[omnimask]\n{name} = {name}_plugin\n")
    distribution(
        "nowhere-dist", {}, "[omnimask]\nnowhere = nowhere_at_all.plugin\nno_attribute = json:missing\nno_reference = !!!\n"
    )
    for name in ("first", "second"):
        source = GOOD.replace("{name}.ours", "shared.ours").replace("{name}", "good")
        distribution(f"{name}-dist", {f"{name}_plugin": source}, f"[omnimask]\n{name} = {name}_plugin\n")
    good = {"good_plugin": GOOD.replace("{name}", "good"), "good_parts": PARTS}
    distribution("good-dist", good, "[omnimask]\ngood = good_plugin\n", requires=["omnimask>=0.0.1,<99", "not a requirement !"])
    return tmp_path


@pytest.fixture
def damaged(distribution: Distribution) -> None:
    """Metadata that break the reader of the standard library, beside a plugin that works."""
    source = GOOD.replace("{name}", "quiet")
    (distribution("no-metadata", {"quiet_plugin": source}, "[omnimask]\nquiet = quiet_plugin\n") / "METADATA").unlink()
    distribution("garbage-dist", {}, "[omnimask]\nthis line is none\n")
    distribution("latin-dist", {}, b"[omnimask]\nlatin = caf\xe9\n")
    distribution("unrelated-dist", {}, "[console_scripts]\nthis line is none\n")
    (distribution("empty-dist", {}, "") / "entry_points.txt").unlink()


def recipe(folder: Path, masker: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(RECIPE % masker, encoding="utf-8")
    return path


def refusal(folder: Path, masker: str) -> str:
    with pytest.raises(UserError) as info:
        load_recipe(recipe(folder, masker))
    return str(info.value)


def test_everything_else_works(broken: Path) -> None:
    registry = discover()
    assert {"core", "datasets", "image", "good", "first", "second", *LATE} <= {plugin.name for plugin in registry.plugins}
    assert load_recipe(recipe(broken, "random, ratio: 0.5")).modalities["image"].masker is not None
    assert load_recipe(recipe(broken, "good.ours")).modalities["image"].masker is not None


def test_plugins_explains_each(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = {row["plugin"]: row for row in found["plugins"]}
    for name, cause in CAUSES.items():
        failure = rows[name]["failure"]
        assert cause in failure["cause"], name
        assert name == "newer" or "Traceback" in failure["traceback"]
        assert rows[name]["distribution"] == ("nowhere-dist" if name.startswith("no") else f"{name}-dist")
        assert any(cause in problem and f"plugin {name!r} of" in problem for problem in found["problems"])
    assert rows["good"]["failure"] is None
    assert rows["good"]["components"] == [{"kind": "masker", "name": "good.ours", "reference": "good_parts:Ours"}]
    clash = "masker 'shared.ours' is registered by plugin 'first' of first-dist 1.0 and plugin 'second' of second-dist 1.0"
    assert any(clash in problem for problem in found["problems"])
    assert main(["plugins"]) == 0
    shown = capsys.readouterr()
    assert shown.out.count("failed") == len(CAUSES)


@pytest.mark.usefixtures("damaged")
def test_damaged_metadata_disturb_no_other_plugin(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["plugins"]
    working = {row["plugin"]: (row["distribution"], row["version"]) for row in rows if row["failure"] is None}
    assert {"core", "image", "quiet"} <= set(working)
    assert working["quiet"] == ("no_metadata", "1.0")
    failed = {row["distribution"]: row["failure"]["cause"] for row in rows if row["failure"] is not None}
    assert set(failed) == {"garbage-dist", "latin-dist"}
    assert all("its entry_points.txt cannot be read" in cause for cause in failed.values())
    assert main(["--help"]) == 0


def test_check_loads_everything_and_fails(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--check"]) == 1
    shown = capsys.readouterr().err
    for name, (_, cause) in LATE.items():
        assert f"masker '{name}.ours' of {name}-dist 1.0" in shown and cause in shown
    assert "good.ours" not in shown
    assert main(["doctor"]) == 1


@pytest.mark.parametrize("name", [*SOURCES, "nowhere", "no_attribute", "no_reference"])
def test_a_recipe_that_names_one_fails_with_the_cause(broken: Path, name: str) -> None:
    message = refusal(broken, f"{name}.ours")
    assert "recipe.yaml:6: modalities.image.masker" in message
    assert CAUSES[name] in message
    assert name == "newer" or "Traceback (most recent call last)" in message


@pytest.mark.parametrize("name", LATE)
def test_a_recipe_that_names_a_component_which_cannot_be_loaded(broken: Path, name: str) -> None:
    assert LATE[name][1] in refusal(broken, f"{name}.ours")


def test_an_ambiguous_name_is_refused(broken: Path) -> None:
    assert "first-dist 1.0 and plugin 'second' of second-dist 1.0 both register it" in refusal(broken, "shared.ours")


def test_the_wrong_version_is_found_without_an_import(broken: Path) -> None:
    import sys

    discover()
    assert "imports_plugin" not in sys.modules and "newer_plugin" not in sys.modules
    assert "good_plugin" in sys.modules


def test_the_allow_list_leaves_the_broken_ones_out(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIMASK_PLUGINS", "image, good")
    registry = discover(refresh=True)
    assert [plugin.name for plugin in registry.plugins] == ["good", "core", "image"]
    assert [failure.plugin.name for failure in registry.failures if failure.plugin.name != "?"] == []
    assert "disabled by OMNIMASK_PLUGINS: " in refusal(broken, "raises.ours")


@pytest.mark.parametrize(
    ("requirement", "works"),
    [
        ("omnimask", True),
        ("omnimask>=0.0.1", True),
        ("omnimask<0.0.1", False),
        ("omnimask==99.*; extra == 'gpu'", True),
        ("omnimask-other>=99", True),
        ("omnimask>=", True),
    ],
)
def test_which_requirements_are_refused(distribution: Distribution, requirement: str, works: bool) -> None:
    files = {"good_plugin": GOOD.replace("{name}", "good"), "good_parts": PARTS}
    points = "[omnimask]\ngood = good_plugin\n[omnimask.commands]\nsay-ours = good_parts:Ours\n"
    distribution("good-dist", files, points, requires=[requirement])
    assert ("good" in {plugin.name for plugin in discover().plugins}) is works
    assert main(["say-ours", "--help"]) == (0 if works else 2)
