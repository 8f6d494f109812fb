"""The plugin that the documentation builds works as the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

PAGE = Path(__file__).resolve().parents[2] / "docs" / "writing-a-plugin.md"
BLOCK = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files, with the metadata that an installer would write."""
    folder = tmp_path_factory.mktemp("tutorial")
    for name, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    metadata = folder / f"omnimask_timeseries-{project['version']}.dist-info"
    metadata.mkdir()
    about = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (metadata / "METADATA").write_text(about, encoding="utf-8")
    points = "".join(f"{name} = {module}\n" for name, module in project["entry-points"]["omnimask"].items())
    (metadata / "entry_points.txt").write_text(f"[omnimask]\n{points}", encoding="utf-8")
    return folder


def run(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=package, env=environment, capture_output=True, text=True, timeout=600)


def omnimask(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(package, "-c", "from omnimask.cli import entry; entry()", *arguments)


def test_plugin_is_found(package: Path) -> None:
    done = omnimask(package, "plugins", "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "timeseries" in done.stdout and "omnimask-timeseries" in done.stdout


def test_conformance_tests_pass(package: Path) -> None:
    done = run(package, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and "skipped" not in done.stdout


def test_quick_start_trains_and_draws(package: Path) -> None:
    done = omnimask(package, "pretrain", "timeseries", "--smoke", "--run", "run")
    assert done.returncode == 0, done.stderr
    assert (package / "run" / "figures" / "reconstructions.png").stat().st_size > 10_000
    wrong = omnimask(package, "pretrain", "timeseries", "modalities.timeseries.masker.least=0.9", "--run", "other")
    assert wrong.returncode == 2
    assert "least (0.9) is greater than most (0.5)" in wrong.stderr
