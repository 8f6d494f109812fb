"""Packages of their own, installed beside omnimask: the one that the documentation builds, and larger ones."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "omnimask-waves"
EXAMPLES = sorted((ROOT / "examples").glob("omnimask-*"))
Run = Callable[..., subprocess.CompletedProcess[str]]


def test_example_is_what_the_page_shows() -> None:
    spec = importlib.util.spec_from_file_location("write_example", ROOT / "scripts" / "write_example.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    there = {str(path.relative_to(EXAMPLE)) for path in EXAMPLE.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert there == set(script.files()), "run python scripts/write_example.py"
    for name, text in script.files().items():
        assert (EXAMPLE / name).read_text(encoding="utf-8") == text, "run python scripts/write_example.py"


@pytest.mark.process
def test_packages_pass_their_tests(run: Run, tmp_path: Path) -> None:
    """In one process: most of the time goes into imports."""
    tests = [str(path / "tests") for path in EXAMPLES]
    done = run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", *tests, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and "skipped" not in done.stdout


@pytest.mark.process
def test_packages_train_and_draw(run: Run, tmp_path: Path) -> None:
    done = run("python", "-c", _TRAIN_AND_DRAW, *(path.name.removeprefix("omnimask-") for path in EXAMPLES), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for path in EXAMPLES:
        folder = tmp_path / path.name.removeprefix("omnimask-") / "figures"
        drawn = [file for file in folder.glob("reconstruc*") if file.suffix in (".png", ".html")]
        assert drawn and all(file.stat().st_size > 3000 for file in drawn), f"{folder}: {drawn}"


_TRAIN_AND_DRAW = """
import sys
from omnimask.cli import main
for name in sys.argv[1:]:
    for command in (["pretrain", name, "--smoke", "--run", name], ["reconstruct", name]):
        code = main(command)
        if code:
            sys.exit(f"{command} gave {code}")
"""


@pytest.mark.process
def test_wrong_input_is_the_components_own_words(run: Run, tmp_path: Path) -> None:
    wrong = run("omnimask", "pretrain", "waves", "modalities.waves.masker.least=0.9", "--run", "other", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "least (0.9) is greater than most (0.5)" in wrong.stderr
    assert not (tmp_path / "other").exists()
