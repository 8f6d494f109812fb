"""The kit finds what is wrong with plugins, and each of its contracts is documented and has a test that shows it fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnimask import testing as kit
from omnimask.registry import Registry
from omnimask.testing import PluginContract, with_module

from .failing import finds


def test_plugin_contract_names_what_is_missing() -> None:
    class Contract(PluginContract):
        def plugin(self) -> str:
            return "imagery"

    finds(Contract(), "test_registers_without_failure", "entry point 'imagery' of group 'omnimask' does not exist;")


def test_plugin_contract_finds_heavy_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "heavy_plugin.py").write_text(
        "import sklearn\nimport omnimask\n\n@omnimask.hookimpl\ndef omnimask_register(registry): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    class Contract(PluginContract):
        def plugin(self) -> str:
            return "heavy"

        def registry(self) -> Registry:
            return with_module("heavy", "heavy_plugin")

    finds(Contract(), "test_registering_imports_nothing_heavy", "importing heavy_plugin imports .*sklearn; register references")


def test_every_contract_has_a_test_that_shows_it_fail() -> None:
    """And every contract of the kit is in the documentation."""
    source = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_kit*.py"))
    page = (Path(__file__).resolve().parents[2] / "docs" / "writing-a-plugin.md").read_text(encoding="utf-8")
    for name in (name for name in kit.__all__ if name.endswith("Contract")):
        assert f"`{name}`" in page, f"{name} is missing from docs/writing-a-plugin.md"
        assert f"({name})" in source or name == "ModelContract", f"no test shows {name} fail"
