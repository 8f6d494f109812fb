"""Replacement of a run's data set by other data from the command line."""

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
"""Options of data sets that locate samples. Overriding one of them drops the run's own."""


def with_other_data(recipe: Recipe, changes: Sequence[str], registry: Registry | None = None) -> list[str]:
    """Convert the changes to overrides of a run's recipe.

    If they name another data set, it replaces the run's: options of the framework (``validation``) are kept, and so are options
    common to both data sets (``labels``), except locations. If they give a location but no data set, the run's other locations are
    dropped. The rest stays unchanged.

    Args:
        recipe: of the run.
        changes: ``data.KEY=VALUE``, or ``data={...}``, which replaces all and is used unchanged.
        registry: source of data sets; the default is the installed ones.

    Raises:
        UserError: a modality's field is given for a run with several modalities.
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
    """Convert ``data.field`` to the field of a run's only modality, which is elsewhere in a recipe."""
    key, separator, value = change.partition("=")
    if key != "data.field":
        return change
    if len(recipe.modalities) > 1:
        raise UserError(f"--data field={value}: this run has several modalities, {', '.join(recipe.modalities)}, each with a field")
    return f"modalities.{next(iter(recipe.modalities))}.field{separator}{value}"


def _options(name: str, registry: Registry) -> Sequence[str]:
    """Return the options of a data set; none if unknown, which is reported when the recipe is loaded."""
    if name not in registry.names("dataset"):
        return ()
    return tuple(options_of(registry.load("dataset", name)))


def _tell(own: Mapping[str, Any], kept: Mapping[str, Any], given: Mapping[str, str]) -> None:
    """Log the run's options that are kept and dropped, without empty ones."""
    says = {key: value for key, value in own.items() if key != "name" and value is not None and f"data.{key}" not in given}
    stay = [f"{key}: {inline(value)}" for key, value in says.items() if key in kept]
    gone = [key for key in says if key not in kept]
    if kept["name"] != own["name"]:
        logger.info(
            "data: %s replaces the run's %s%s%s",
            kept["name"],
            own["name"],
            f"; kept: {', '.join(stay)}" if stay else "",
            f"; dropped: {', '.join(gone)}" if gone else "",
        )
