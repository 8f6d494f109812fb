"""Recipes shipped by the project and its plugins, by ``modality/recipe``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from omnimask.errors import UserError
from omnimask.messages.hints import listed, nearest
from omnimask.registry import SUFFIXES, RecipeFolder, Registry, discover

QUICK_START = "quickstart"
"""Recipe selected by the name of a modality alone."""


def shipped_recipes(registry: Registry | None = None) -> Mapping[str, Path]:
    """Return the files of the shipped recipes, sorted by name, without duplicate names and missing folders."""
    found, _ = _search(registry or discover())
    return {name: paths[0][0] for name, paths in sorted(found.items()) if len(paths) == 1}


def find_recipe(name: str, registry: Registry) -> tuple[str, Path]:
    """Return name and file of a recipe.

    Args:
        name: a path (an existing file, or any name ending in .yaml or .yml), ``modality/recipe``, or ``modality`` for its quick
            start.
        registry: source of recipe folders.

    Raises:
        UserError: the recipe is missing, or two plugins ship one of this name.
    """
    path = Path(name)
    if path.is_file():
        return path.stem, path
    if path.is_dir():
        raise UserError(_of_folder(path))
    if name.endswith(SUFFIXES):
        raise UserError(f"{name} does not exist{_elsewhere(path, registry)}")
    found, broken = _search(registry)
    full = name if name in found else f"{name}/{QUICK_START}"
    if full not in found:
        known = (*found, *{other.partition("/")[0] for other in found if other.endswith(f"/{QUICK_START}")})
        problems = "".join(f"\n  {message}" for message in (*broken, *map(str, registry.failures)))
        raise UserError(f"unknown recipe {name!r}{nearest(name, known)}; shipped: {listed(known)}{problems}")
    if len(found[full]) > 1:
        claims = " and ".join(str(folder.plugin) for _, folder in found[full])
        raise UserError(f"recipe {full!r} is ambiguous: {claims} ship it; give the path of one: {found[full][0][0]}")
    return full, found[full][0][0]


def _of_folder(path: Path) -> str:
    """Return the message for a folder given as a recipe: a run's folder, or a folder of data."""
    if (path / "recipe.yaml").is_file():
        return f"{path} is a folder; its recipe is {path / 'recipe.yaml'}. To continue a run: `omnimask resume {path}`"
    return f"{path} is a folder, not a recipe. To write a recipe for the data in it: `omnimask init {path}`"


def _search(registry: Registry) -> tuple[dict[str, list[tuple[Path, RecipeFolder]]], list[str]]:
    found: dict[str, list[tuple[Path, RecipeFolder]]] = {}
    broken: list[str] = []
    for folder in registry.folders:
        try:
            for name, path in folder.files().items():
                found.setdefault(name, []).append((path, folder))
        except UserError as error:
            broken.extend(error.messages)
    return found, broken


def _elsewhere(path: Path, registry: Registry) -> str:
    shipped = shipped_recipes(registry)
    name = f"{path.parent.name}/{path.stem}"
    return f"; omit the extension for a shipped recipe: {name}" if name in shipped else ""
