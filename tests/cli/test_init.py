"""``omnimask init``: a recipe for a folder of the user's that loads, can be inspected, and trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from omnimask.interfaces import Context, Suggestion
from omnimask.recipe import load_recipe
from omnimask.registry import Plugin, Registrar, Registry
from omnimask.run.suggest import suggest

Command = Callable[..., Any]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Colour PNG and JPEG files in two sub-folders of a folder whose name needs quotes, one broken file, one of another kind."""
    folder = tmp_path / "my: photos #1"
    rng = np.random.default_rng(0)
    for number in range(12):
        path = folder / ("cat" if number % 2 else "dog") / f"{number}.{'png' if number % 3 else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40 + number, 60, 3), np.uint8)).save(path)
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("notes")
    return folder


def test_the_recipe_loads_and_trains(omnimask: Command, photos: Path, tmp_path: Path) -> None:
    result = omnimask("init", photos.name)
    assert result.code == 0, result.err
    for words in (
        "13: 9 .png, 4 .jpg",
        "median 45 x 60, smallest 40 x 60, largest 51 x 60",
        "2 from sub-folders: ",
        "1 of 13",
        "broken.png",
        "1 other files: 1 with .txt",
    ):
        assert words in result.out
    assert "omnimask inspect recipe.yaml --figure recipe-masks.png\n  omnimask pretrain recipe.yaml" in result.err
    assert [path.name for path in tmp_path.iterdir() if ".tmp" in path.name] == []
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert recipe.data.dataset.options["path"] == photos
    assert omnimask("inspect", "recipe.yaml").code == 0
    trained = omnimask("pretrain", "recipe.yaml", "train.steps=2", "train.schedule.warmup=0", "train.workers=0", "--run", "run")
    assert trained.code == 0, trained.err
    assert (tmp_path / "run" / "figures" / "reconstructions.png").is_file()


def test_splits_are_no_labels(omnimask: Command, photos: Path) -> None:
    (photos / "broken.png").unlink()
    for kind in ("cat", "dog"):
        (photos / "train").mkdir(exist_ok=True)
        (photos / kind).rename(photos / "train" / kind)
    result = omnimask("init", photos.name)
    assert result.code == 0, result.err
    assert "train: all of them are used for" in result.out
    assert "2 from sub-folders: " in result.out


def test_the_commands_that_it_names_can_be_pasted(omnimask: Command, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "two words").mkdir()
    result = omnimask("init", photos, "-o", "two words/mine.yaml")
    assert "omnimask pretrain 'two words/mine.yaml'" in result.err
    assert load_recipe(tmp_path / "two words" / "mine.yaml").name == "mine"


def test_a_file_is_written_over_only_by_force(omnimask: Command, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("mine")
    result = omnimask("init", photos)
    assert (result.code, len(result.errors)) == (2, 1)
    assert "recipe.yaml exists; choose another file, or overwrite it with --force" in result.errors[0]
    assert (tmp_path / "recipe.yaml").read_text() == "mine"
    assert omnimask("init", photos, "--force").code == 0
    assert load_recipe(tmp_path / "recipe.yaml")


WRONG = {
    "missing": (["nowhere"], "nowhere does not exist"),
    "a file": (["file.png"], "is a file; give a folder of files"),
    "empty": (["empty"], "is empty"),
    "another kind": (["letters"], "of its 3 files, 2 with .abc, 1 with no extension; asked: image.folder (image of omnimask"),
    "output is a folder": (["letters", "-o", "empty"], "is a folder; give a file"),
    "no folder for the output": (["letters", "-o", "nowhere/recipe.yaml"], "folder nowhere of recipe.yaml does not exist"),
    "nothing readable": (["broken"], "image.folder: 2 files look like images, but none of 2 is readable"),
}


@pytest.mark.parametrize("arguments, message", WRONG.values(), ids=WRONG)
def test_wrong_input(omnimask: Command, tmp_path: Path, arguments: list[str], message: str) -> None:
    for name in ("empty", "letters", "broken"):
        (tmp_path / name).mkdir()
    (tmp_path / "file.png").write_bytes(b"")
    for name in ("a.abc", "b.abc", "c"):
        (tmp_path / "letters" / name).write_text("abc")
    for name in ("a.png", "b.png"):
        (tmp_path / "broken" / name).write_bytes(b"no picture")
    before = sorted(tmp_path.rglob("*"))
    result = omnimask("init", *arguments)
    assert result.code == 2
    assert any(message in error for error in result.errors), result.err
    assert result.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_an_output_that_cannot_be_written(omnimask: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("omnimask.training.checkpoints.durable_files._write", refuse)
    result = omnimask("init", photos)
    assert result.code == 2
    assert result.errors == ["--output: cannot write recipe.yaml: No space left on device"]
    assert not list(tmp_path.glob("recipe*"))


def suggester(modality: str, ending: str) -> type:
    class Counting:
        def __init__(self, context: Context) -> None: ...

        def __call__(self, folder: Path) -> Suggestion | None:
            number = len(list(folder.glob(f"*{ending}")))
            return Suggestion(modality, number, {}, "") if number else None

    return Counting


def test_the_suggester_that_understands_most_files_wins(tmp_path: Path) -> None:
    registrar = Registrar(Plugin("many", "many", "1"))
    registrar.add_suggester("few", suggester("few", ".a"))
    registrar.add_suggester("most", suggester("most", ".b"))
    registrar.add_suggester("nothing", suggester("nothing", ".c"))
    for name in ("1.a", "1.b", "2.b"):
        (tmp_path / name).write_text("")
    found = suggest(tmp_path, Registry([registrar]))
    assert [suggestion.modality for suggestion in found] == ["most", "few"]
