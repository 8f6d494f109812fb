"""The package of the cookbook: installed beside omnimask, it passes the tests that the page shows and trains."""

from __future__ import annotations

import io
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omnimask.cli import main
from omnimask.training.monitoring.jsonl_writer import read_metrics

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "cookbook.md"
FILES = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL))


@pytest.fixture
def lab(distribution: Callable[..., Path], tmp_path: Path) -> Path:
    """The package on the path; returns the folder with its test."""
    modules = {name.removesuffix(".py"): text for name, text in FILES.items() if name.startswith("lab/") and name.endswith(".py")}
    points = FILES["entry point"].replace("[project.entry-points.omnimask]", "[omnimask]").replace('"', "")
    site = distribution("lab", {"lab/__init__": "", **modules}, points).parent
    for name in ("lab/recipes/quickstart.yaml", "tests/test_lab.py"):
        path = site / name if name.startswith("lab/") else tmp_path / name
        path.parent.mkdir()
        path.write_text(FILES[name], encoding="utf-8")
    return tmp_path / "tests"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A database of small PNG files."""
    path, rng = tmp_path / "pictures.db", np.random.default_rng(0)
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE samples (key TEXT, value BLOB)")
        for number in range(80):
            file, shade = io.BytesIO(), rng.integers(0, 200)
            Image.fromarray((shade + 5 * np.add.outer(np.arange(8), np.arange(8))).clip(0, 255).astype(np.uint8)).save(file, "PNG")
            database.execute("INSERT INTO samples VALUES (?, ?)", (f"{number:03d}", file.getvalue()))
    return path


def test_the_page_has_every_file_of_the_package() -> None:
    assert sorted(FILES) == [
        "checkers.py",
        "checkers.yaml",
        "entry point",
        "lab/data.py",
        "lab/maskers.py",
        "lab/plugin.py",
        "lab/predictors.py",
        "lab/recipes/quickstart.yaml",
        "lab/targets.py",
        "tests/test_lab.py",
    ]


def test_its_recipe_trains_from_a_database(lab: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    options = ["train.steps=101", "train.schedule.warmup=5", "device=cpu", "data.max_bad.at_least=0"]
    assert main(["pretrain", "lab", f"data.path={pictures}", *options, "--run", str(run)]) == 0
    losses = [line["loss"] for line in read_metrics(run / "metrics.jsonl") if "loss" in line]
    assert losses[-1] < 0.5 * losses[0]
    assert (run / "figures" / "reconstructions.png").exists()
    capsys.readouterr()
    wrong = ["modalities.image.masker={name: lab.stripes, axis: 2}", f"data.path={pictures}"]
    assert main(["pretrain", "lab", *wrong, "--run", str(tmp_path / "other")]) == 2
    assert "axis 2: tokens of 'image' have 2 position axes" in capsys.readouterr().err
    assert main(["pretrain", "lab", "data.path=nowhere.db", "--run", str(tmp_path / "other")]) == 2
    assert f"the database {Path.cwd() / 'nowhere.db'} does not exist" in capsys.readouterr().err
    assert main(["pretrain", "lab", "--smoke"]) == 0


def test_one_file_beside_a_recipe_trains(tmp_path: Path) -> None:
    for name in ("checkers.py", "checkers.yaml"):
        (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    assert main(["pretrain", str(tmp_path / "checkers.yaml"), "--smoke", "--run", str(tmp_path / "run")]) == 0


@pytest.mark.process
def test_its_tests_pass(lab: Path) -> None:
    site = lab.parent / "site"
    code = f"import sys; sys.path.insert(0, {str(site)!r}); import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "-q", "-p", "no:cacheprovider", "--import-mode=importlib", str(lab)]
    done = subprocess.run(command, cwd=lab.parent, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and "skipped" not in done.stdout


def test_its_code_is_clean(lab: Path) -> None:
    """As the project's own, but for the layout of the page."""
    options = ["--no-cache", "--config", str(ROOT / "pyproject.toml"), "--config", "src = ['site']", "--ignore", "I001"]
    command = [sys.executable, "-m", "ruff", "check", *options, str(lab.parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout
