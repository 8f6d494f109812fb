"""The wheel, in an environment of its own and far from the checkout, does what the checkout does."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
PNG = b"\x89PNG\r\n\x1a\n"
Run = Callable[..., subprocess.CompletedProcess[str]]


def test_wheel_holds_packages_and_recipes_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {
        "omnimask",
        "omnimask_datasets",
        *(path.name for path in (ROOT / "plugins").iterdir() if (path / "__init__.py").exists()),
    }
    recipes = {str(path.relative_to(ROOT / "configs")) for path in (ROOT / "configs").rglob("*.yaml")}
    assert {name.removeprefix("omnimask/configs/") for name in names if name.startswith("omnimask/configs/")} == recipes
    assert "omnimask/py.typed" in names
    templates = {str(path.relative_to(ROOT / "core")) for path in (ROOT / "core" / "omnimask" / "scaffold").rglob("*.template")}
    assert templates and templates <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    emoji = {"emoji.zip", "NOTICE.md", "LICENSE-OFL-1.1.txt", "LICENSE-Unicode-3.0.txt"}
    assert {f"omnimask_image/emoji/{name}" for name in emoji} <= set(names)


def test_modules_come_from_the_wheel(run: Run, installed: Path, tmp_path: Path) -> None:
    code = "import omnimask, omnimask_image, omnimask_datasets as d; print(omnimask.__file__, omnimask_image.__file__, d.__file__)"
    done = run("python", "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(file.startswith(str(installed)) for file in done.stdout.split()), done.stdout


def test_plugins_are_found(run: Run, tmp_path: Path) -> None:
    done = run("omnimask", "plugins", "--check", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {plugin["plugin"]: plugin["distribution"] for plugin in json.loads(done.stdout)["plugins"]}
    examples = {path.name.removeprefix("omnimask-"): path.name for path in (ROOT / "examples").glob("omnimask-*")}
    assert len(examples) == 4
    assert found == {**dict.fromkeys(("adapters", "core", "datasets", "image", "text"), "omnimask"), **examples}


def test_shipped_recipe_trains(run: Run, tmp_path: Path) -> None:
    done = run("omnimask", "pretrain", "image", "--smoke", "--run", "smoke", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    directory = tmp_path / "smoke"
    summary = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
    assert summary["status"] == "finished"
    assert (directory / "figures" / "reconstructions.png").read_bytes().startswith(PNG)
    drawn = run("omnimask", "reconstruct", "smoke", cwd=tmp_path)
    assert drawn.returncode == 0, drawn.stdout + drawn.stderr
    assert (tmp_path / drawn.stdout.strip()).read_bytes().startswith(PNG)
