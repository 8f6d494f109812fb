"""``omnimask plugins``, ``components`` and ``doctor``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import omnimask as package
from omnimask.cli.doctor_checks import cuda_name
from omnimask.registry import discover

Command = Callable[..., Any]


@pytest.fixture(autouse=True)
def as_the_console_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """``python -m pytest`` puts the working directory on the path, as no launch form of the command does."""
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if not (Path(entry) / "datasets" / "omnimask_datasets").is_dir()])


@pytest.fixture
def broken_plugin(distribution: Callable[..., Path]) -> None:
    """A plugin that cannot be imported is installed beside the others."""
    distribution("broken-dist", {}, "[omnimask]\nbroken = no_such_module_at_all\n")


def test_version_and_help(omnimask: Command) -> None:
    assert omnimask("--version").out.strip() == f"omnimask {package.__version__}"
    assert omnimask().code == 0
    result = omnimask("--help")
    assert result.code == 0
    for command in ("pretrain", "resume", "reconstruct", "inspect", "plugins", "components", "doctor"):
        assert command in result.out
        helped = omnimask(command, "--help")
        assert helped.code == 0
        assert max(map(len, helped.out.splitlines())) <= 80


def test_plugins_are_listed_with_where_they_come_from(omnimask: Command) -> None:
    found = json.loads(omnimask("plugins", "--json").out)
    assert {"core", "datasets", "image"} <= {row["plugin"] for row in found["plugins"]}
    assert {row["distribution"] for row in found["plugins"]} == {"omnimask"}
    assert found["problems"] == []
    table = omnimask("plugins").out
    assert all(row["plugin"] in table for row in found["plugins"])


def test_plugins_check_loads_everything(omnimask: Command) -> None:
    result = omnimask("plugins", "--check")
    assert (result.code, result.errors) == (0, [])
    assert "all components load" in result.err


@pytest.mark.usefixtures("broken_plugin")
def test_a_broken_plugin_is_explained_and_harms_no_other(omnimask: Command, recipe: Path) -> None:
    listed = omnimask("plugins")
    assert listed.code == 0
    assert "'broken'" in listed.errors[0] and "no_such_module_at_all" in listed.errors[0]
    checked = omnimask("plugins", "--check", traceback=True)
    assert checked.code == 1
    assert "ModuleNotFoundError" in checked.err
    assert omnimask("pretrain", recipe, "train.steps=1").code == 0
    unknown = omnimask("pretrain", recipe, "encoder={name: broken.encoder}", traceback=True)
    assert unknown.code == 2
    assert omnimask("doctor").code == 1


def test_components_by_kind_and_one_with_its_options(omnimask: Command) -> None:
    everything = json.loads(omnimask("components", "--json").out)
    maskers = json.loads(omnimask("components", "masker", "--json").out)
    assert [entry for entry in everything if entry["kind"] == "masker"] == maskers
    assert {"none", "random", "span"} <= {entry["name"] for entry in maskers}
    assert "random" in omnimask("components", "masker").out
    one = json.loads(omnimask("components", "masker", "random", "--json").out)
    assert any(o["name"] == "ratio" and o["type"].startswith("float > 0, <= 1") and o["default"] is None for o in one["options"])
    shown = omnimask("components", "masker", "random").out
    assert "required" in shown and "share of masked tokens" in shown
    assert max(map(len, omnimask("components", "encoder", "transformer").out.splitlines())) <= 80


@pytest.mark.parametrize(
    "arguments, message",
    [(["maskr"], "did you mean 'masker'?"), (["masker", "rndom"], "unknown masker 'rndom' (did you mean 'random'?)")],
)
def test_unknown_components(omnimask: Command, arguments: list[str], message: str) -> None:
    result = omnimask("components", *arguments)
    assert result.code == 2
    assert message in result.errors[0]


def test_doctor_finds_a_working_installation(omnimask: Command) -> None:
    found = json.loads(omnimask("doctor", "--json").out)
    assert found["versions"]["omnimask"] == package.__version__
    assert found["datasets"] in (None, "package")
    assert {"versions", "cpu", "plugins", "disk", "datasets"} <= {check["name"] for check in found["checks"]}
    assert "ok" in omnimask("doctor").out


@pytest.mark.parametrize(("version", "name"), [(13000, "13.0"), ("12080", "12.8"), (11070, "11.7"), ("13.0", "13.0"), (None, None)])
def test_versions_of_cuda_are_compared_in_one_form(version: str | int | None, name: str | None) -> None:
    assert cuda_name(version) == name


def test_doctor_finds_a_folder_that_passes_for_a_package(
    omnimask: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "datasets").mkdir()
    discover()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])  # the package of that name may be installed, and would be found first
    result = omnimask("doctor", "--json")
    found = json.loads(result.out)
    assert result.code == 1
    assert found["datasets"] == str(tmp_path / "datasets")
    assert [check["name"] for check in found["checks"] if check["status"] == "problem"] == ["datasets"]
