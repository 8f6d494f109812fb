"""``key=value`` overrides of the command line, applied to a recipe before validation."""

from __future__ import annotations

from collections.abc import Sequence

from omnimask.errors import UserError
from omnimask.messages.hints import listed, nearest
from omnimask.recipe.document import Document, KeyPath, SourceLocation, dotted
from omnimask.recipe.problems import Problems
from omnimask.recipe.yaml_text import parse_value

SECTIONS = frozenset(
    {
        "masker",
        "corruptor",
        "init",
        "labels",
        "views",
        "encoders",
        "passes",
        "backbone",
        "smoke",
        "data",
        "encoder",
        "predictors",
    }
)
"""Top-level keys that an override may add, even if nested sections use the same key."""
_ORDER = 1000
"""Sorts the command line after every file."""


def apply(document: Document, overrides: Sequence[str], problems: Problems) -> Document:
    """Apply ``a.b.c=value`` overrides in order. Values are parsed like a recipe's.

    A number in the path is a list index, from 0 (``predictors.0.weight=2``). A mapping replaces the previous value.
    """
    for position, text in enumerate(overrides):
        place = SourceLocation(f"command line: {text}", order=_ORDER + position)
        key, separator, value = text.partition("=")
        keys = key.strip().split(".")
        if not separator or not all(keys):
            problems.at(place, "an override must have the form key=value, for example train.steps=100")
            continue
        if (meant := _meant(document, keys)) is not None:
            problems.at(place, f"{key.strip()}: unknown key; {meant}")
            continue
        try:
            document = document.with_value(_path(document, keys), parse_value(value, place))
        except LookupError as error:
            problems.at(place, str(error.args[0]))
        except UserError as error:
            problems.at(place, error.messages[0].removeprefix(f"{place}: "))
    return document


def _meant(document: Document, keys: list[str]) -> str | None:
    """Return a suggestion for a key unknown to the recipe, or None if the key may be intended."""
    data = document.data
    if not isinstance(data, dict) or (keys[0] in data and keys[0] != "modalities"):
        return None
    modalities = data.get("modalities")
    if keys[0] == "modalities":
        if len(keys) < 3 or not isinstance(modalities, dict) or keys[1] in modalities:
            return None
        return f"unknown modality {keys[1]!r}{nearest(keys[1], modalities)}; modalities: {listed(modalities)}"
    longer = [path for path in document.places if len(path) > len(keys) and [str(key) for key in path[-len(keys) :]] == keys]
    if not longer or (len(keys) == 1 and keys[0] in SECTIONS):
        return None
    return f"did you mean {' or '.join(dotted(path) for path in longer)}?"


def _path(document: Document, keys: list[str]) -> KeyPath:
    path: list[str | int] = []
    data = document.data
    for key in keys:
        is_index = isinstance(data, list) and key.isdecimal()
        path.append(int(key) if is_index else key)
        if isinstance(data, list):
            data = data[int(key)] if is_index and int(key) < len(data) else None
        else:
            data = data.get(key) if isinstance(data, dict) else None
    return tuple(path)
