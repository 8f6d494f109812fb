"""The wheel, in an environment of its own and far from the checkout, does what the checkout does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the programs of a fresh environment: the wheel, and this environment's other packages.

    A line in a ``.pth`` file shows the other packages, and not what their ``.pth`` files show: the editable installation stays out.
    """
    environment = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, timeout=300)
    programs = environment / "bin"
    install = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, timeout=300)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)}))
    (packages / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    return programs


def run(programs: Path, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "OMNIMASK_PLUGINS")}
    arguments = [str(programs / command[0]), *command[1:]]
    return subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)


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
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_modules_come_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = "import omnimask, omnimask_image, omnimask_datasets as d; print(omnimask.__file__, omnimask_image.__file__, d.__file__)"
    done = run(installed, "python", "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(file.startswith(str(installed.parent)) for file in done.stdout.split()), done.stdout


def test_plugins_are_found(installed: Path, tmp_path: Path) -> None:
    done = run(installed, "omnimask", "plugins", "--check", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("core", "datasets", "image"):
        assert name in done.stdout


def test_shipped_recipe_trains(installed: Path, tmp_path: Path) -> None:
    done = run(installed, "omnimask", "pretrain", "image", "--smoke", "--run", "smoke", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    directory = tmp_path / "smoke"
    summary = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
    assert summary["status"] == "finished"
    assert (directory / "figures" / "reconstructions.png").read_bytes().startswith(PNG)
    drawn = run(installed, "omnimask", "reconstruct", "smoke", cwd=tmp_path)
    assert drawn.returncode == 0, drawn.stdout + drawn.stderr
    assert (tmp_path / drawn.stdout.strip()).read_bytes().startswith(PNG)
