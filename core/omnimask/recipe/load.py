"""Loading of recipes: find, read, apply the base recipe and the overrides, and resolve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omnimask.errors import UserError
from omnimask.recipe.config import Recipe
from omnimask.recipe.document import Document
from omnimask.recipe.old_spellings import modernised
from omnimask.recipe.options import INVALID, Resolver
from omnimask.recipe.overrides import apply
from omnimask.recipe.problems import Problems
from omnimask.recipe.resolve import resolve
from omnimask.recipe.shipped import find_recipe
from omnimask.recipe.smoke import shrink
from omnimask.recipe.yaml_text import parse
from omnimask.registry import SUFFIXES, Registry, discover, plugin_files
from omnimask.registry.signature import Option
from omnimask.version import __version__

FORMAT = 1
"""Recipe format of this version."""
_PLUGINS = Option("plugins", tuple[Path, ...], (), "Python files with further components")


def load_recipe(
    name_or_path: str | Path,
    overrides: Sequence[str] = (),
    *,
    smoke: bool = False,
    registry: Registry | None = None,
    runs_files: bool = True,
) -> Recipe:
    """Return a validated recipe. The Python files under its key ``plugins`` are run.

    Args:
        name_or_path: a file, a shipped recipe (``image/mae``), or a modality for its quick start (``image``).
        overrides: ``key=value`` with dotted keys (``train.steps=100``, ``predictors.0.weight=2``).
        smoke: shrink the recipe onto embedded data (:mod:`omnimask.recipe.smoke`).
        registry: source of components; the default is the installed ones.
        runs_files: False for a recipe from downloaded data or weights: its plugin files are refused unless already in use.

    Raises:
        UserError: with one message for each problem: ``file:line: dotted.path: message``.
    """
    given, registry = registry, registry or discover()
    name, path = find_recipe(str(name_or_path), registry)
    document = _extended(_read(path, 0), path, registry)
    problems = Problems()
    try:
        document = apply(document, overrides, problems)
        _check_format(document)
        document = modernised(document, problems)
        files = _plugin_files(document, registry, problems, runs_files)
        registry = discover() if given is None else plugin_files.over(given)
        recipe = resolve(document, registry, problems, smoke=smoke)
        if recipe is not None and smoke:
            recipe = shrink(recipe, document, registry, problems)
    except RecursionError as error:
        raise UserError(f"{_shown(path)}: nested too deeply") from error
    problems.check(str(name_or_path))
    assert recipe is not None, "a recipe without problems was not resolved"
    return replace(recipe, name=name, path=path, plugins=files)


def _plugin_files(document: Document, registry: Registry, problems: Problems, runs: bool) -> tuple[Path, ...]:
    """Activate the plugin files of a recipe and return them."""
    paths = Resolver(document, registry, problems).option(_PLUGINS, document.data, (), "recipes")
    if paths is INVALID:
        return ()
    try:
        if runs:
            plugin_files.use(paths, refresh=True)
        elif not plugin_files.are_used(paths):
            raise UserError(
                f"this recipe came with weights and runs code from {', '.join(map(str, paths))}; review that code first"
            )
    except UserError as error:
        raise UserError(f"{document.where(('plugins',))}: {error}") from error
    return paths


def _read(path: Path, order: int) -> Document:
    source = _shown(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{source}: cannot be read: {error}") from error
    document = parse(text, source, order, path.absolute().parent)
    _check_format(document)
    return document


def _check_format(document: Document) -> None:
    data: Any = document.data
    number = data.get("omnimask") if isinstance(data, Mapping) else None
    where = document.place(("omnimask",))
    if number is None:
        raise UserError(f"{where}: omnimask is required: the recipe format; write omnimask: {FORMAT}")
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise UserError(f"{where}: omnimask: must be the recipe format, a number from 1 to {FORMAT} (got {number!r})")
    if number > FORMAT:
        raise UserError(
            f"{where}: omnimask: the recipe has format {number}, but omnimask {__version__} supports formats up "
            f"to {FORMAT}; upgrade: pip install -U omnimask"
        )


def _extended(document: Document, path: Path, registry: Registry) -> Document:
    name = document.data.get("extends")
    if name is None:
        return document
    where = document.where(("extends",))
    if not isinstance(name, str):
        raise UserError(f"{where}: must be the name or the path of one recipe (got {name!r})")
    beside = path.parent / name
    try:
        base_path = beside if beside.is_file() and name.endswith(SUFFIXES) else find_recipe(name, registry)[1]
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    base = _read(base_path, 1)
    if base.data.get("extends") is not None:
        inner = base.where(("extends",))
        raise UserError(
            f"{where}: {name} extends another recipe ({inner}); only one level is allowed: extend {base.data['extends']!r}"
        )
    return document.merged_into(base)


def _shown(path: Path) -> str:
    """Return the path for messages: relative if it is inside the working directory."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
