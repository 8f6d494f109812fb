"""Every recipe and component that is installed can be used, and shrinks."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnimask.errors import UserError
from omnimask.recipe import load_recipe, schema_of, shipped_recipes
from omnimask.registry import discover

UNSET = {"image": ("data.path=.",), "text": ("data.path=.", "modalities.text.tokenizer.path=.")}
"""Values for what a shipped recipe leaves to its user, by modality."""
CHECKPOINT = ("init.path=.",)
ALSO_UNSET = {
    "text/lem": CHECKPOINT,
    "text/entitycs": (*CHECKPOINT, "modalities.text.augment.0.dictionary=entities.json"),
    "text/bioptimus": CHECKPOINT,
    "text/bitimebert": CHECKPOINT,
    "text/span-origin": CHECKPOINT,
    "text/prop": CHECKPOINT,
}
"""The same, of single recipes."""


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_load_shrink_and_write_themselves(name: str, tmp_path: Path) -> None:
    smoke = load_recipe(name, smoke=True)
    try:
        recipe = load_recipe(name)
    except UserError as error:
        assert all("is required" in message for message in error.messages)
        _, command = error.messages[-1].split(f"; for example: omnimask pretrain {name} ")
        assert all(change.partition("=")[2] in ("FOLDER", "FILE", "PATH") for change in command.split())
        assert len(command.split()) == len(error.messages)
        recipe = load_recipe(name, (*UNSET[name.partition("/")[0]], *ALSO_UNSET.get(name, ())))
    for resolved in (recipe, smoke):
        path = tmp_path / "written.yaml"
        path.write_text(resolved.to_yaml(), encoding="utf-8")
        assert load_recipe(path) == resolved
    assert smoke.train.steps <= 8
    assert smoke.data.dataset.name not in ("image.folder", "text.files")


@pytest.mark.parametrize("entry", discover().entries(), ids=lambda entry: f"{entry.kind}-{entry.name}")
def test_installed_components_can_be_loaded_and_described(entry) -> None:
    schema = schema_of(entry.kind, entry.name)
    assert schema.summary
    for option in schema.options:
        assert option.description, f"{entry.reference} does not say what {option.name} is"
