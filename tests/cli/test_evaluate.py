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


def record(path: Path, name: str = "evaluation") -> dict[str, Any]:
    return json.loads((path / f"{name}.json").read_text(encoding="utf-8"))


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
    found = record(run, "evaluation-pictures")
    assert (run / "figures" / "few_label-pictures.png").exists() and not (run / "evaluation.json").exists()
    assert (found["num_classes"], found["num_train"] + found["num_test"], found["seen"]) == (2, 60, 0)
    assert next(each["mean"] for each in found["scores"] if each["features"] == "raw input") > 0.9


def test_other_settings_never_replace_an_evaluation(omnimask: Command, run: Path) -> None:
    options = ("--probe", "knn", "--draws")
    first = omnimask("evaluate", run, *options, "2")
    kept = (run / "evaluation.json").read_bytes()
    other = omnimask("evaluate", run, *options, "3")
    assert (first.code, other.code) == (0, 0)
    said = " ".join(other.err.split())
    assert "evaluation.json was made with other settings (draws: 2) and is kept" in said
    assert "evaluation-2.json" in said and "few_label-2.png" in said
    assert (run / "evaluation.json").read_bytes() == kept and record(run, "evaluation-2")["draws"] == 3
    before = contents(run)
    for draws in ("2", "3"):
        assert omnimask("evaluate", run, *options, draws).code == 0
    assert contents(run) == before and (run / "evaluation.json").read_bytes() == kept


def test_few_draws_stay_within_the_range(omnimask: Command, run: Path) -> None:
    result = omnimask("evaluate", run, "--draws", "2")
    assert result.code == 0
    found = record(run)
    assert all(0 <= each["low"] <= each["mean"] <= each["high"] <= 1 for each in found["scores"])
    assert all(-1 <= each["low"] <= each["mean"] <= each["high"] <= 1 for each in found["differences"])
    right = round(found["chance"] * found["num_test"])
    assert f"{right} of {found['num_test']} scored samples, {100 * found['chance']:.1f} %" in result.out
    assert f"most frequent training class, {found['most_frequent']!r}" in result.out


def test_a_table_of_unknown_keys_names_file_and_line(omnimask: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("key,label\ndigits/0001,a\ndigit/2,b\n", encoding="utf-8")
    result = omnimask("evaluate", run, "--labels", "labels.csv")
    assert result.code == 2
    assert "labels.csv:3: unknown sample 'digit/2'" in result.errors


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


def edit(run: Path, old: str, new: str) -> None:
    text = (run / "recipe.yaml").read_text(encoding="utf-8")
    assert old in text
    (run / "recipe.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")


def test_an_edited_recipe_is_refused(omnimask: Command, run: Path) -> None:
    """Every command that uses trained weights compares the recipe with the one that their checkpoint keeps."""
    commands = (("evaluate", run, "--probe", "none"), ("reconstruct", run), ("export", run, "out", "--to", "safetensors"))
    written = (run / "recipe.yaml").read_text(encoding="utf-8")
    edit(run, "ratio: 0.5", "ratio: 0.25")
    edit(run, "validation: 0.1", "validation: 0.5")
    before = contents(run)
    for command in commands:
        result = omnimask(*command)
        assert result.code == 2 and contents(run) == before and not Path("out").exists()
        said = f"{run / 'recipe.yaml'}: modalities.image.masker.ratio: is 0.25, but the weights were trained with 0.5"
        assert said in result.errors
        assert any("data.validation: is 0.5" in each for each in result.errors)
        assert "undo it" in result.errors[-1] and "recipe.yaml)" in result.errors[-1]
    (run / "recipe.yaml").write_text(written, encoding="utf-8")
    edit(run, "log_every: 1", "log_every: 2")  # what a resumed run may change is free here, too
    for command in commands:
        assert omnimask(*command).code == 0


def test_what_a_resumed_run_was_allowed_is_no_edit(omnimask: Command, recipe: Path) -> None:
    short = ("train.checkpoint_every=3", "train.keep_checkpoints=9", "data.validation=0.1")
    assert omnimask("pretrain", recipe, *short, "--run", "b").code == 0
    change = ("modalities.image.masker.ratio=0.25", "--accept-changes", "modalities.image.masker.ratio", "train.steps=9")
    resumed = omnimask("resume", "b", *change)
    assert resumed.code == 0, resumed.err
    for checkpoint in ("step-00000003", "last"):
        assert omnimask("evaluate", "b", "--probe", "none", "--checkpoint", checkpoint).code == 0
