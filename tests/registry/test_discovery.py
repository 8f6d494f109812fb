"""Plugins are found by entry points, each isolated from the others, without heavy imports."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from omnimask.registry import Registry, discover
from omnimask.registry.installed import collect

GOOD = """
import omnimask

@omnimask.hookimpl
def omnimask_register(registry):
    registry.add_masker("{name}.one", "{module}:One")
    registry.add_recipes("{name}", "{module}:recipes")
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes a distribution with one plugin module and returns its entry points."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(name: str, source: str, distribution: str | None = None, version: str = "1.0"):
        module = f"discovered_{tmp_path.name.replace('-', '_')}_{len(list(tmp_path.iterdir()))}"
        (tmp_path / f"{module}.py").write_text(source.replace("{name}", name).replace("{module}", module))
        distribution = distribution or f"{name}-dist"
        info = tmp_path / f"{distribution}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[omnimask]\n{name} = {module}\n")
        return list(PathDistribution(info).entry_points)

    return install


def loaded(registry: Registry) -> list[str]:
    return [plugin.name for plugin in registry.plugins]


def test_installed_plugins_are_all_there() -> None:
    registry = discover(refresh=True)
    assert registry is discover()
    assert not registry.failures
    assert {"core", "datasets", "image"} <= set(loaded(registry))
    assert {"random", "span", "none"} <= set(registry.names("masker"))
    assert registry.entry("masker", "random").distribution == "omnimask"


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import a_module_that_nobody_has", "ModuleNotFoundError: No module named 'a_module_that_nobody_has'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def f(:", "SyntaxError"),
        (GOOD.replace("omnimask_register", "omnimask_registr"), "unknown hook 'omnimask_registr'"),
        (GOOD.replace("(registry)", "(registr)"), "registr"),
        (
            GOOD.replace("@omnimask.hookimpl", ""),
            "implements no hook; define omnimask_register(registry) and mark it with @omnimask.hookimpl",
        ),
        (GOOD.replace("add_recipes(", "add_recipe("), "no attribute 'add_recipe'"),
        (GOOD.replace(":One", ""), "must have the form"),
    ],
)
def test_a_plugin_that_fails_leaves_nothing_and_touches_no_other(install, source: str, cause: str) -> None:
    points = [*install("good", GOOD), *install("bad", source, version="9.1")]
    registry = collect(points)
    assert loaded(registry) == ["good"]
    assert [entry.name for entry in registry.entries()] == ["good.one"]
    assert [folder.modality for folder in registry.folders] == ["good"]
    failure = registry.failures[0]
    assert (failure.plugin.name, failure.plugin.distribution, failure.plugin.version) == ("bad", "bad-dist", "9.1")
    assert cause in failure.cause
    assert "Traceback" in failure.traceback


def test_an_interrupt_is_no_failure(install) -> None:
    with pytest.raises(KeyboardInterrupt):
        collect(install("bad", "raise KeyboardInterrupt"))


def test_what_a_failed_plugin_had_registered_is_remembered_for_messages(install) -> None:
    registry = collect(install("bad", GOOD + "    raise ValueError('halfway')\n"))
    assert registry.failures[0].names == ("bad.one",)
    assert not registry.entries()


def test_order_does_not_depend_on_the_order_of_installation(install) -> None:
    points = [*install("x", GOOD), *install("y", GOOD, "a-dist"), *install("w", GOOD)]
    assert loaded(collect(points)) == loaded(collect(points[::-1])) == ["y", "w", "x"]


def test_the_allow_list_restricts_and_spares_the_core(install) -> None:
    points = [*install("core", GOOD), *install("first", GOOD), *install("second", "raise RuntimeError('imported')")]
    registry = collect(points, "first")
    assert loaded(registry) == ["core", "first"]
    assert registry.left_out == ("second",)
    assert not registry.failures
    misspelt = collect(points, " first , secnd,")
    assert "no installed plugin has this name (did you mean 'second'?)" in misspelt.failures[0].cause
    assert loaded(collect(points, "")) == ["core", "first"]


def test_discovery_and_recipes_import_nothing_heavy() -> None:
    code = (
        "import sys, omnimask.recipe\n"
        "from omnimask.registry import discover\n"
        "assert len(discover().entries()) > 20, discover().failures\n"
        "omnimask.recipe.shipped_recipes()\n"
        "heavy = {'torch', 'numpy', 'PIL', 'sklearn', 'transformers', 'matplotlib', 'omnimask.interfaces'} & set(sys.modules)\n"
        "plugins = [name for name in sys.modules if name.startswith(('omnimask_image.', 'omnimask_datasets.'))]\n"
        "assert not heavy, heavy\n"
        "assert set(plugins) <= {'omnimask_image.plugin', 'omnimask_datasets.plugin'}, plugins\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
