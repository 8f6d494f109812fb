"""The plugin that the documentation builds: a package of its own, installed beside omnimask, that works as the page says."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "omnimask-waves"
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
def test_conformance_tests_pass(run: Run, tmp_path: Path) -> None:
    done = run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "tests"), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and "skipped" not in done.stdout


@pytest.mark.process
def test_quick_start_trains_and_draws(run: Run, tmp_path: Path) -> None:
    done = run("omnimask", "pretrain", "waves", "--smoke", "--run", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "figures" / "reconstructions.png").stat().st_size > 10_000
    wrong = run("omnimask", "pretrain", "waves", "modalities.waves.masker.least=0.9", "--run", "other", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "least (0.9) is greater than most (0.5)" in wrong.stderr
    assert not (tmp_path / "other").exists()
