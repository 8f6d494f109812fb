"""A plugin that was just written is clean, passes its own tests, and trains: both kinds, installed beside omnimask."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from omnimask.scaffold import KINDS, MAX_LENGTH, new_plugin
from omnimask.training.monitoring.jsonl_writer import read_metrics

pytestmark = pytest.mark.process

NAMES = {"modality": "radio-waves", "masker": "near_by"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both packages, and in ``site`` what their wheels install."""
    folder = tmp_path_factory.mktemp("plugins")
    for kind, name in NAMES.items():
        package = new_plugin(name, kind, folder)
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "wheels")]
        done = subprocess.run(command, cwd=package, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
    for wheel in sorted((folder / "wheels").iterdir()):
        zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder


def start(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder / "site"), "OMP_NUM_THREADS": "1"}
    environment.pop("OMNIMASK_PLUGINS", None)
    words = [sys.executable, *command]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


def packages(folder: Path) -> list[Path]:
    return sorted(folder.glob("omnimask-*"))


def test_their_own_tests_pass(written: Path) -> None:
    tests = [str(package / "tests") for package in packages(written)]
    done = start(written, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", *tests)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and "skipped" not in done.stdout


def test_they_are_listed_and_train(written: Path) -> None:
    code = (
        "import sys\n"
        "from omnimask.cli import main\n"
        "assert main(['plugins', '--check']) == 0\n"
        f"for name in {sorted(NAMES.values())}:\n"
        "    assert main(['pretrain', name, 'device=cpu', 'train.steps=110', '--run', name]) == 0\n"
    )
    done = start(written, "-c", code)
    assert done.returncode == 0, done.stderr
    for name in NAMES.values():
        losses = [line["loss"] for line in read_metrics(written / name / "metrics.jsonl") if "loss" in line]
        assert losses[-1] < 0.85 * losses[0]
        assert (written / name / "figures" / "reconstructions.png").stat().st_size > 10_000


def test_types_are_clean(written: Path) -> None:
    done = start(written, "-m", "pyright", "--pythonpath", sys.executable, *map(str, packages(written)))
    assert done.returncode == 0, done.stdout


def test_lint_is_clean_under_the_shortest_and_the_longest_name(tmp_path: Path) -> None:
    for kind in KINDS:
        for name in ("a", "z" * MAX_LENGTH):
            package = new_plugin(name, kind, tmp_path / kind)
            for words in (["check", "--select", "E,F,I,UP,B,SIM,RET,PTH,RUF,NPY,C4,D1"], ["format", "--check"]):
                done = start(package, "-m", "ruff", words[0], "--isolated", "--no-cache", *words[1:], *_but_tests(words))
                assert done.returncode == 0, done.stdout + done.stderr


def _but_tests(words: list[str]) -> list[str]:
    """Tests need no docstrings, nor does a constructor."""
    return ["--ignore", "D107,D105", "--per-file-ignores", "tests/*:D", "."] if words[0] == "check" else ["."]
