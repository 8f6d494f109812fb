"""Other data for a run's model: what a command line names takes the place of the run's data set."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from omnimask.errors import UserError
from omnimask.recipe import Recipe
from omnimask.recipe.options import plain
from omnimask.recipe.yaml_text import inline, parse
from omnimask.registry import Registry, discover
from omnimask.registry.signature import options_of

logger = logging.getLogger(__name__)

PLACES = ("path", "url", "repository", "cache")
"""Options of data sets that say where samples lie. Who names one of them leaves the run's own behind."""


def with_other_data(recipe: Recipe, changes: Sequence[str], registry: Registry | None = None) -> list[str]:
    """The changes as overrides of a run's recipe.

    Where they name another data set, it takes the place of the run's: options of the framework (``validation``) stay, and so do
    options that both data sets have (``labels``), but for those that say where the samples lie. Where they name a place and no data
    set, the run's other places go. The rest stays as it is.

    Args:
        recipe: of the run.
        changes: ``data.KEY=VALUE``, or ``data={...}``, which replaces all and stands as it is.
        registry: where data sets are looked up; default: what is installed.

    Raises:
        UserError: a modality's field is named where a run has several modalities.
    """
    given = {key: value for key, _, value in (change.partition("=") for change in changes)}
    overrides = [_field(change, recipe) for change in changes]
    own = plain(recipe.data.dataset)
    name = str(parse(f"name: {given['data.name']}", "--data").data["name"]) if "data.name" in given else own["name"]
    is_moved = any(f"data.{place}" in given for place in PLACES[:-1])
    if "data" in given or (name == own["name"] and not is_moved):
        return overrides
    kept = {key: value for key, value in own.items() if key not in PLACES}
    if name != own["name"]:
        known = _options(name, registry or discover())
        kept = {"name": name, **{key: value for key, value in kept.items() if key in known}}
    _tell(own, kept, given)
    options = plain(recipe.data.options)
    group = parse(recipe.to_yaml(), "recipe").data["data"].get("group")
    section = {**kept, **options, **({} if group is None else {"group": group})}
    return [f"data={inline(section)}", *overrides]


def _field(change: str, recipe: Recipe) -> str:
    """The field that a run's only modality is read from belongs to the data, though a recipe has it elsewhere."""
    key, separator, value = change.partition("=")
    if key != "data.field":
        return change
    if len(recipe.modalities) > 1:
        raise UserError(f"--data field={value}: this run has several modalities, {', '.join(recipe.modalities)}, each with a field")
    return f"modalities.{next(iter(recipe.modalities))}.field{separator}{value}"


def _options(name: str, registry: Registry) -> Sequence[str]:
    """Of a data set; none of one that is not known, which is refused when the recipe is loaded."""
    if name not in registry.names("dataset"):
        return ()
    return tuple(options_of(registry.load("dataset", name)))


def _tell(own: Mapping[str, Any], kept: Mapping[str, Any], given: Mapping[str, str]) -> None:
    """Which of the run's options stay and which go, of those that say something."""
    says = {key: value for key, value in own.items() if key != "name" and value is not None and f"data.{key}" not in given}
    stay = [f"{key}: {inline(value)}" for key, value in says.items() if key in kept]
    gone = [key for key in says if key not in kept]
    if kept["name"] != own["name"]:
        logger.info(
            "data: %s takes the place of the run's %s%s%s",
            kept["name"],
            own["name"],
            f"; kept: {', '.join(stay)}" if stay else "",
            f"; left behind: {', '.join(gone)}" if gone else "",
        )
