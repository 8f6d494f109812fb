"""Relative paths in a recipe go by the file that they are written in, those of the command line by the working directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnimask.cli import main
from omnimask.errors import UserError
from omnimask.recipe import load_recipe

RECIPE = "omnimask: 1\nextends: {base}\ndata: {{name: {name}, path: {path}}}\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with rows beside recipes, and another one to call from."""
    for folder in ("recipes/bases", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "recipes" / "rows.jsonl").write_text('{"text": "a word"}\n' * 3)
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "recipes"


def _path(recipe: Path, *overrides: str) -> Path:
    return Path(load_recipe(recipe, overrides).data.dataset.options["path"])


def test_a_path_goes_by_the_file_that_it_is_written_in(project: Path) -> None:
    own = project / "own.yaml"
    own.write_text(RECIPE.format(base="text/quickstart", name="jsonl", path="rows.jsonl"))
    assert _path(own) == project / "rows.jsonl"
    assert _path(Path("../recipes/own.yaml")) == Path.cwd() / "../recipes/rows.jsonl"
    base = project / "bases" / "base.yaml"
    base.write_text(load_recipe(own).to_yaml().replace(str(project / "rows.jsonl"), "../rows.jsonl"))
    extending = project / "extending.yaml"
    extending.write_text("omnimask: 1\nextends: bases/base.yaml\ntrain: {steps: 3}\n")
    assert _path(extending).resolve() == project / "rows.jsonl"


def test_a_path_on_the_command_line_goes_by_the_working_directory(project: Path) -> None:
    own = project / "own.yaml"
    own.write_text(RECIPE.format(base="text/quickstart", name="jsonl", path="rows.jsonl"))
    assert _path(own, "data.path=../recipes/rows.jsonl") == Path.cwd() / "../recipes/rows.jsonl"
    assert _path(own, "data={name: jsonl, path: rows.jsonl}") == Path.cwd() / "rows.jsonl"
    assert _path(own, "data.path=~/rows.jsonl") == Path.home() / "rows.jsonl"


def test_what_lies_in_the_working_directory_alone_is_refused_with_both_places(project: Path) -> None:
    own = project / "own.yaml"
    own.write_text(RECIPE.format(base="text/quickstart", name="jsonl", path="here.jsonl"))
    Path("here.jsonl").write_text('{"text": "a word"}\n')
    with pytest.raises(UserError) as raised:
        load_recipe(own)
    message = str(raised.value)
    assert "own.yaml:3: data.path: here.jsonl in a recipe is" in message
    assert f"{project / 'here.jsonl'}, beside the recipe's file, which does not exist; write {Path.cwd() / 'here.jsonl'}" in message
    assert _path(own, "data.path=here.jsonl") == Path.cwd() / "here.jsonl"


@pytest.mark.parametrize("name", ["x" * 5000, "a/" * 3000, "'\\0'", "${HOME}", "~nobody-of-this-name/x"])
def test_names_that_no_file_has_are_wrong_input(project: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    own = project / "own.yaml"
    own.write_text(RECIPE.format(base="text/quickstart", name="jsonl", path=f'"{name}"' if "0" not in name else '"\\0"'))
    assert main(["inspect", str(own)]) == 2
    assert "Traceback" not in capsys.readouterr().err
    own.write_text(f"omnimask: 1\nextends: text/bert\nmodalities: {{text: {{tokenizer: {{path: '{name[:5000]}'}}}}}}\n")
    assert main(["inspect", str(own), "data={name: english}"]) == 2


def test_a_data_set_that_is_found_by_its_path_looks_beside_the_recipe(project: Path) -> None:
    own = project / "own.yaml"
    own.write_text("omnimask: 1\nextends: text/quickstart\ndata: {path: rows.jsonl}\n")
    recipe = load_recipe(own)
    assert (recipe.data.dataset.name, recipe.data.dataset.options["path"]) == ("jsonl", project / "rows.jsonl")


def test_what_is_a_path_or_a_name_is_a_path_where_something_lies_beside_the_recipe(project: Path) -> None:
    (project / "words").mkdir()
    own = project / "own.yaml"
    own.write_text("omnimask: 1\nextends: text/bert\nmodalities: {text: {tokenizer: {path: words}}}\ndata: {name: english}\n")
    assert load_recipe(own).modalities["text"].tokenizer.options["path"] == str(project / "words")
    own.write_text(own.read_text().replace("path: words", "path: bert-base-uncased"))
    assert load_recipe(own).modalities["text"].tokenizer.options["path"] == "bert-base-uncased"
