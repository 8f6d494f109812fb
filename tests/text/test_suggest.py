"""``omnimask init`` for texts: files, rows of every kind, a single file; and a path alone instead of a data set's name."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from omnimask.cli import main
from omnimask.errors import UserError
from omnimask.recipe import load_recipe
from omnimask.run.prepare import start

WORDS = ("the", "cat", "sat", "on", "a", "mat", "while", "rain", "fell", "over", "quiet", "hills", "and", "people")
NAMES = {"id": int, "review": str, "verdict": str}


def _text(number: int, length: int = 40) -> str:
    rng = random.Random(number)
    return " ".join(rng.choice(WORDS) for _ in range(length)).capitalize() + "."


def _rows(count: int = 60) -> list[dict[str, object]]:
    return [{"id": i, "review": _text(i), "verdict": ("good", "bad")[i % 2]} for i in range(count)]


def _write_csv(path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(NAMES))
        writer.writeheader()
        writer.writerows(_rows())


def _write_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in _rows()), encoding="utf-8")


def _write_parquet(path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(_rows()), path)


def _write_texts(path: Path) -> None:
    path.write_text("\n\n".join(_text(i) for i in range(60)), encoding="utf-8")


WRITERS: dict[str, Callable[[Path], None]] = {
    "texts.txt": _write_texts,
    "rows.csv": _write_csv,
    "rows.jsonl": _write_jsonl,
    "rows.parquet": _write_parquet,
}
SHORT = ["train.steps=2", "train.schedule={name: constant}", "train.validate_every=2", "train.checkpoint_every=2"]


@pytest.mark.parametrize("as_folder", [True, False], ids=["folder", "file"])
@pytest.mark.parametrize("name", WRITERS)
def test_the_recipe_loads_and_trains(tmp_path: Path, name: str, as_folder: bool) -> None:
    (tmp_path / "my data").mkdir()
    path = tmp_path / "my data" / name
    WRITERS[name](path)
    assert main(["init", str(path.parent if as_folder else path), "-o", str(tmp_path / "recipe.yaml")]) == 0
    recipe = load_recipe(tmp_path / "recipe.yaml", SHORT)
    text = recipe.modalities["text"]
    is_rows = name.startswith("rows")
    assert recipe.data.dataset.name == (name.partition(".")[2] if is_rows else "text.files")
    assert text.field == ("review" if is_rows else "text")
    assert recipe.data.dataset.options.get("labels") == ("verdict" if is_rows else None)
    assert text.tokenizer.name == "text.english"
    run = start(recipe, tmp_path / "run", show=False)
    assert len(run.built.dataset) == 60
    assert run.trainer.fit()


def test_texts_that_the_vocabulary_does_not_know_are_read_as_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "zh"
    folder.mkdir()
    for number in range(25):
        (folder / f"{number}.txt").write_text("今天天气很好，我们去公园散步。" * 10, encoding="utf-8")
    (folder / "bad.txt").write_bytes(b"\xff\xfe\x00\xd8")
    assert main(["init", str(folder), "-o", str(tmp_path / "recipe.yaml")]) == 0
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert recipe.modalities["text"].tokenizer.name == "text.bytes"
    assert "max_bad: {fraction:" in (tmp_path / "recipe.yaml").read_text(encoding="utf-8")


def test_what_cannot_be_read_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "numbers.csv").write_text("a,b\n" + "1,2\n" * 30, encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n' * 30, encoding="utf-8")
    assert main(["init", str(tmp_path / "rows.jsonl"), "-o", str(tmp_path / "r.yaml")]) == 2
    assert "no column contains texts; columns: ['a']" in capsys.readouterr().err
    (tmp_path / "x.bin").write_bytes(b"\0")
    assert main(["init", str(tmp_path / "x.bin"), "-o", str(tmp_path / "r.yaml")]) == 2
    assert main(["init", str(tmp_path / "gone"), "-o", str(tmp_path / "r.yaml")]) == 2
    assert "is a file; give a folder of files, or a file" in capsys.readouterr().err
    assert not (tmp_path / "r.yaml").exists()


def test_a_path_alone_finds_its_data_set(tmp_path: Path) -> None:
    _write_texts(tmp_path / "one.txt")
    recipe = load_recipe("text", [f"data.path={tmp_path}"])
    assert (recipe.data.dataset.name, recipe.data.dataset.options["path"]) == ("text.files", tmp_path)
    assert recipe.data.options.validation == load_recipe("text").data.options.validation
    rows = tmp_path / "rows.csv"
    _write_csv(rows)
    assert load_recipe("text", [f"data.path={rows}"]).data.dataset.name == "csv"
    assert load_recipe("text", ["data.name=text.files", f"data.path={rows}"]).data.dataset.name == "text.files"


def test_a_path_to_nothing_of_the_recipe_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.path: .*gone does not exist"):
        load_recipe("text", [f"data.path={tmp_path / 'gone'}"])
    _write_texts(tmp_path / "one.txt")
    with pytest.raises(UserError, match=r"no plugin finds files of image in .*data\.name=NAME"):
        load_recipe("image", [f"data.path={tmp_path}"])
