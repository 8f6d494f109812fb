"""How the command starts: every launch form, and what it does not import."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TORCHRUN = [str(BIN / "torchrun"), "--standalone", "--nproc-per-node", "1"]
FORMS = {
    "console script": [str(BIN / "omnimask")],
    "python -m": [sys.executable, "-m", "omnimask"],
    "torchrun --no-python": [*TORCHRUN, "--no-python", str(BIN / "omnimask")],
    "torchrun -m": [*TORCHRUN, "-m", "omnimask"],
}

LIGHT = """
import contextlib, io, json, sys
from omnimask.cli import main
codes = []
for arguments in (["--help"], ["plugins", "--json"], ["plugins"], ["components"], ["components", "masker", "--json"],
                  ["doctor", "--help"], ["pretrain", "--help"], ["inspect", "--help"], ["reconstruct", "--help"], []):
    with contextlib.redirect_stdout(io.StringIO()):
        codes.append(main(arguments))
plugin_modules = [name for name in sys.modules if name.startswith(("omnimask_image", "omnimask_datasets"))]
heavy = [name for name in ("torch", "PIL", "sklearn", "matplotlib", "transformers", "numpy") if name in sys.modules]
print(json.dumps({"codes": codes, "plugin_modules": sorted(plugin_modules), "heavy": heavy}))
"""


@pytest.mark.process
def test_no_launch_form_takes_the_folder_datasets_for_a_package() -> None:
    assert (ROOT / "datasets").is_dir()

    def doctor(form: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*form, "doctor", "--json"], cwd=ROOT, capture_output=True, text=True, timeout=240)

    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(FORMS, pool.map(doctor, FORMS.values()), strict=True))
    for name, process in found.items():
        assert process.returncode == 0, f"{name}:\n{process.stdout}{process.stderr}"
        assert json.loads(process.stdout)["datasets"] in (None, "package"), name


@pytest.mark.process
def test_listings_and_help_import_neither_torch_nor_what_plugins_need() -> None:
    process = subprocess.run([sys.executable, "-c", LIGHT], cwd=ROOT / "tests", capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)
    assert found["heavy"] == []
    assert found["plugin_modules"] == ["omnimask_datasets", "omnimask_datasets.plugin", "omnimask_image", "omnimask_image.plugin"]
    assert set(found["codes"]) == {0}
