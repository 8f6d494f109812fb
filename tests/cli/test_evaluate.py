"""``omnimask evaluate``."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from .conftest import Command


@pytest.fixture
def run(omnimask: Command, recipe: Path, tmp_path: Path) -> Path:
    """A finished run of a few steps on the digits, a tenth of which are held out."""
    path = tmp_path / "run"
    assert omnimask("pretrain", recipe, "data.validation=0.1", "--run", path).code == 0
    return path


def record(path: Path) -> dict[str, Any]:
    return json.loads((path / "evaluation.json").read_text(encoding="utf-8"))


def contents(path: Path) -> set[Path]:
    return {file for file in path.rglob("*") if file.is_file()}


def test_the_digits_are_scored_beside_both_baselines(omnimask: Command, run: Path) -> None:
    result = omnimask("evaluate", run, "--draws", "3")
    assert result.code == 0
    assert max(map(len, result.out.splitlines())) <= 80
    for words in ("random init", "raw input", "knn", "linear", "labels per class", "interval", "were pretrained on"):
        assert words in result.out
    found = record(run)
    assert (found["num_classes"], found["seen"], found["checkpoint"][:5]) == (10, 0, "step-")
    assert found["num_train"] + found["num_test"] == 1797
    assert len(found["scores"]) == 2 * 4 * 3
    raw = [each["mean"] for each in found["scores"] if each["probe"] == "linear" and each["features"] == "raw input"]
    assert raw == sorted(raw)
    assert raw[-1] > 0.9
    assert (run / "figures" / "few_label.png").read_bytes().startswith(b"\x89PNG")


def test_json_is_the_record_and_the_same_every_time(omnimask: Command, run: Path, tmp_path: Path) -> None:
    first = omnimask("evaluate", run, "--probe", "knn", "--draws", "2", "--json")
    assert json.loads(first.out) == record(run)
    before = contents(run)
    elsewhere = tmp_path / "elsewhere"
    second = omnimask("evaluate", run, "--probe", "knn", "--draws", "2", "--json", "-o", elsewhere)
    assert second.out == first.out
    assert contents(run) == before
    assert contents(elsewhere) == {elsewhere / "evaluation.json", elsewhere / "figures" / "few_label.png"}


def test_a_table_of_labels_with_its_own_split(omnimask: Command, run: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    rows = [f"digits/{number:04d},{number % 2},{'test' if number % 4 == 1 else 'train'}" for number in range(0, 60)]
    table.write_text("\n".join(["key,label,split", *rows]), encoding="utf-8")
    result = omnimask("evaluate", run, "--labels", table, "--probe", "knn", "--draws", "2")
    assert result.code == 0
    found = record(run)
    assert (found["num_train"], found["num_test"], found["num_classes"], found["labels_from"]) == (45, 15, 2, str(table))
    assert 10 <= found["seen"] <= 15
    assert "Note: 1737 samples have no row" in result.out


def test_another_data_set_is_read_with_the_runs_tokenizer(omnimask: Command, run: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for number in range(60):
            pixels = rng.integers(0, 100, (12, 12), np.uint8) + np.uint8(100 * (number % 2))
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            archive.writestr(f"{('dark', 'light')[number % 2]}/{number:02d}.png", buffer.getvalue())
    change = f"data={{name: image.zip, path: {tmp_path / 'pictures.zip'}, validation: 0.3}}"
    result = omnimask("evaluate", run, "--data", change, "--draws", "2", "--probe", "linear")
    assert result.code == 0
    found = record(run)
    assert (found["num_classes"], found["num_train"] + found["num_test"], found["seen"]) == (2, 60, 0)
    assert next(each["mean"] for each in found["scores"] if each["features"] == "raw input") > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--probe", "finetune"], "--probe: no probe is called finetune; there are knn, linear"),
        (["--probe", ","], "--probe: no probe is called nothing"),
        (["--pool", "max"], "--pool: 'max' is none of mean, summary, both"),
        (["--pool", "summary"], "--pool summary: this encoder has no summary tokens; use --pool mean"),
        (["--labels", "gone.csv"], "the labels gone.csv cannot be read: No such file or directory"),
        (["--data", "path"], "--data path: has the form key=value"),
        (["--data", "name=image.folder"], "data.path"),
        (["--checkpoint", "step-7"], "has no checkpoint 'step-7'"),
        (["--output", "tiny.yaml"], "--output: tiny.yaml is a file; the results need a folder"),
        (["--draws", "1"], "--draws"),
    ],
)
def test_wrong_input_writes_nothing(omnimask: Command, run: Path, arguments: list[str], message: str) -> None:
    before = contents(run)
    result = omnimask("evaluate", run, *arguments)
    assert result.code == 2
    assert message in " ".join(result.errors)
    assert contents(run) == before


def test_a_table_of_unknown_keys_names_file_and_line(omnimask: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("key,label\ndigits/0001,a\ndigit/2,b\n", encoding="utf-8")
    result = omnimask("evaluate", run, "--labels", "labels.csv")
    assert result.code == 2
    assert "labels.csv:3: there is no sample 'digit/2'" in result.errors


def test_a_folder_without_labels_says_what_to_give(omnimask: Command, run: Path, pictures: Any) -> None:
    """And what was hidden is scored all the same, unless probes are asked for."""
    data = ("--data", f"data={{name: image.folder, path: {pictures([8] * 12)}, validation: 0.5}}")
    result = omnimask("evaluate", run, *data, "-o", "scores")
    assert result.code == 0
    assert "give them with --labels FILE.csv" in " ".join(result.out.split()) and "of the mean" in result.out
    asked = omnimask("evaluate", run, *data, "--probe", "knn")
    assert asked.code == 2
    assert "give them with --labels FILE.csv" in asked.errors[0]


def test_what_is_no_run_is_refused(omnimask: Command, tmp_path: Path) -> None:
    assert omnimask("evaluate", tmp_path / "gone").code == 2
