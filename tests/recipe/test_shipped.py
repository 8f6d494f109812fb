"""Names of recipes: shipped by the project and by plugins, looked up with hints."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnimask.errors import UserError
from omnimask.plugin import configs_folder
from omnimask.recipe import load_recipe, shipped_recipes
from omnimask.registry import Plugin, Registrar, Registry


def registry_of(registrar: Registrar, *folders: tuple[str, str, str | Path]) -> Registry:
    registrars = [registrar]
    for plugin, modality, folder in folders:
        other = Registrar(Plugin(plugin, f"{plugin}-dist", "2.0"))
        other.add_recipes(modality, folder)
        registrars.append(other)
    return Registry(registrars)


@pytest.fixture
def shelf(tmp_path: Path, text: str) -> Path:
    (tmp_path / "shelf").mkdir()
    for name in ("mae", "quickstart"):
        (tmp_path / "shelf" / f"{name}.yaml").write_text(text)
    (tmp_path / "shelf" / "notes.txt").write_text("")
    return tmp_path / "shelf"


def test_recipes_are_found_by_modality_and_name(registrar: Registrar, shelf: Path) -> None:
    registry = registry_of(registrar, ("a", "image", shelf))
    assert shipped_recipes(registry) == {"image/mae": shelf / "mae.yaml", "image/quickstart": shelf / "quickstart.yaml"}
    assert load_recipe("image/mae", registry=registry).name == "image/mae"
    assert load_recipe("image", registry=registry).name == "image/quickstart"


def test_a_reference_to_a_callable_gives_the_folder(registrar: Registrar, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shelf.parent / "recipes_plugin.py").write_text(
        "from pathlib import Path\n\ndef recipes():\n    return Path(__file__).parent / 'shelf'\n"
    )
    monkeypatch.syspath_prepend(shelf.parent)
    assert "image/mae" in shipped_recipes(registry_of(registrar, ("a", "image", "recipes_plugin:recipes")))


def test_unknown_recipes_get_a_hint_and_the_list(registrar: Registrar, shelf: Path) -> None:
    registry = registry_of(registrar, ("a", "image", shelf), ("b", "text", "no_such_module:recipes"))
    with pytest.raises(UserError) as info:
        load_recipe("image/mea", registry=registry)
    assert "unknown recipe 'image/mea' (did you mean 'image/mae'?); shipped: image, image/mae, image/quickstart" in str(info.value)
    assert "plugin 'b' of b-dist 2.0 cannot be found at no_such_module:recipes: ModuleNotFoundError" in str(info.value)
    with pytest.raises(UserError, match=r"image/mae.yaml does not exist; omit the extension for a shipped recipe: image/mae"):
        load_recipe("image/mae.yaml", registry=registry)


def test_a_name_that_two_plugins_ship_is_refused(registrar: Registrar, shelf: Path) -> None:
    registry = registry_of(registrar, ("a", "image", shelf), ("b", "image", shelf))
    assert shipped_recipes(registry) == {}
    with pytest.raises(UserError, match=r"plugin 'a' of a-dist 2.0 and plugin 'b' of b-dist 2.0 ship it; give the path"):
        load_recipe("image/mae", registry=registry)


def test_a_shipped_recipe_can_be_extended(load, write, registrar: Registrar, shelf: Path) -> None:
    registry = registry_of(registrar, ("a", "image", shelf))
    path = write("omnimask: 1\nextends: image/mae\nseed: 5\n", "mine.yaml")
    recipe = load_recipe(path, registry=registry)
    assert (recipe.seed, recipe.name, recipe.train.steps) == (5, "mine", 1000)


def test_the_checkout_is_searched_before_the_package() -> None:
    folder = configs_folder()
    assert folder.is_dir()
    assert (folder.parent / "pyproject.toml").is_file()
