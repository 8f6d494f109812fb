"""Plugins in single files that a recipe names: registered, compared, kept apart from other recipes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from omnimask import load_recipe
from omnimask.builder.build import build
from omnimask.cli import main
from omnimask.errors import UserError
from omnimask.export.weights import load_exported
from omnimask.registry import discover
from omnimask.run.plugin_sources import digest_of

STRIPES = """
import numpy as np

from omnimask import hookimpl
from omnimask.interfaces import Context, Draw, Masking, Tokens


class Stripes:
    def __init__(self, context: Context, *, step: int = 2) -> None:
        self.step = step

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
        is_hidden = np.arange(len(tokens)) % self.step == 1
        return Masking(~is_hidden, is_hidden)


@hookimpl
def omnimask_register(registry):
    registry.add_masker("my.stripes", Stripes)
"""
RECIPE = "omnimask: 1\nextends: {base}\nplugins: [{file}]\nmodalities: {{image: {{masker: {{name: my.stripes}}}}}}\n"
SIZES = ["encoder.width=24", "encoder.depth=1", "encoder.heads=2", "data.validation=0.05", "train.schedule={name: constant}"]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "my.py").write_text(STRIPES)
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(base="image/quickstart", file="./my.py"))
    return path


def test_a_file_beside_the_recipe_brings_components(recipe: Path) -> None:
    loaded = load_recipe(recipe, SIZES)
    assert loaded.plugins == (recipe.parent / "my.py",)
    assert load_recipe_text(loaded.to_yaml(), recipe.parent) == loaded
    built = build(loaded)
    (batch, *_) = built.validation_batches()
    assert len(batch.views["main"].context.source) and "my.stripes" in discover().names("masker")
    assert str(discover().entry("masker", "my.stripes").plugin).startswith("plugin 'my' of my.py ")


def load_recipe_text(text: str, folder: Path):
    (folder / "whole.yaml").write_text(text)
    return load_recipe(folder / "whole.yaml")


def test_other_recipes_do_not_see_it_and_a_recipe_is_built_with_its_own(recipe: Path) -> None:
    loaded = load_recipe(recipe, SIZES)
    load_recipe("image/quickstart")
    assert "my.stripes" not in discover().names("masker")
    build(loaded)
    assert "my.stripes" in discover().names("masker")


def test_a_changed_file_is_loaded_again(recipe: Path) -> None:
    first = load_recipe(recipe).modalities["image"].masker
    again = load_recipe(recipe).modalities["image"].masker
    assert first is not None and again is not None and again.cls is first.cls
    (recipe.parent / "my.py").write_text(STRIPES.replace("step: int = 2", "step: int = 3"))
    changed = load_recipe(recipe).modalities["image"].masker
    assert changed is not None and changed.cls is not first.cls and changed.options == {"step": 3}


def test_files_of_one_name_in_two_folders_keep_their_digests(recipe: Path) -> None:
    other = recipe.parent / "other"
    other.mkdir()
    (other / "my.py").write_text(STRIPES.replace("== 1", "== 0"))
    (other / "recipe.yaml").write_text(recipe.read_text())
    first, digest = load_recipe(recipe), digest_of("omnimask_file_my")
    load_recipe(other / "recipe.yaml")
    assert digest_of("omnimask_file_my") != digest
    build(load_recipe(recipe, SIZES))
    assert digest_of("omnimask_file_my") == digest and first.plugins == (recipe.parent / "my.py",)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nothing_like_it\n", "ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("def broken(:\n", "SyntaxError"),
        ("x = 1\n", "implements no hook; define omnimask_register"),
        (STRIPES.replace("my.stripes", "random"), "masker 'random' is a component of omnimask; choose another name"),
        (STRIPES.replace("*, step", "step"), "constructor"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(recipe: Path, source: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    (recipe.parent / "my.py").write_text(source)
    assert main(["inspect", str(recipe)]) == 2
    told = capsys.readouterr().err
    assert message in told and "my" in told
    assert "plugin_files.py" not in told and "this is a bug" not in told


def test_what_is_no_file_is_refused(recipe: Path) -> None:
    for wrong, message in (
        ("gone.py", r"recipe.yaml:3: plugins: the plugin file \S+gone.py cannot be read: No such file"),
        ("recipe.yaml", "recipe.yaml is not a Python file"),
        ("./my.py, sub/my.py", "two files are named my.py"),
    ):
        recipe.write_text(RECIPE.format(base="image/quickstart", file=wrong))
        with pytest.raises(UserError, match=message):
            load_recipe(recipe)


def test_a_run_keeps_the_digest_and_refuses_another_file(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = recipe.parent / "run"
    assert main(["pretrain", str(recipe), *SIZES, "train.steps=2", "--run", str(run)]) == 0
    (kept,) = [json.loads(path.read_text()) for path in run.glob("checkpoints/*/sources.json")]
    assert "omnimask_file_my" in kept
    assert "my.py" not in json.loads((run / "environment.json").read_text())["plugins"]
    moved = recipe.parent / "elsewhere" / "my.py"
    moved.parent.mkdir()
    (recipe.parent / "my.py").rename(moved)
    assert main(["resume", str(run), "train.steps=3"]) == 2
    assert "the plugin file" in capsys.readouterr().err
    assert main(["resume", str(run), f"plugins=[{moved}]", "train.steps=3"]) == 0
    moved.write_text(STRIPES.replace("== 1", "== 0"))
    assert main(["resume", str(run), f"plugins=[{moved}]", "train.steps=4"]) == 2
    assert "source.omnimask_file_my: the plugin's source has changed" in capsys.readouterr().err
    renamed = moved.with_name("your.py")
    moved.rename(renamed)
    assert main(["resume", str(run), f"plugins=[{renamed}]", "train.steps=4"]) == 2
    assert "source.omnimask_file_your: the plugin's source has changed" in capsys.readouterr().err


def test_a_recipe_that_came_with_weights_runs_no_file(recipe: Path) -> None:
    folder = recipe.parent / "exported"
    folder.mkdir()
    mark = recipe.parent / "mark"
    (folder / "evil.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n")
    (folder / "recipe.yaml").write_text(RECIPE.format(base="image/quickstart", file="evil.py"))
    with pytest.raises(UserError, match=r"recipe.yaml:3: plugins: this recipe came with weights and runs code from \S+evil.py"):
        load_exported(folder)
    assert not mark.exists() and "omnimask_file_evil" not in sys.modules
