"""Keys of a recipe's sections, each declared once, in the annotation of a field of the section's dataclass. Imports no torch.

A declaration gives the key's type in a recipe, its default and its description. Validation, hints for misspelled keys, the resolved
recipe's YAML and the reference page are derived from it::

    weight: Annotated[float, Key("weight of its loss", type=Annotated[float, Field(gt=0)], unset=1.0)]
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omnimask.recipe.options import plain
from omnimask.registry.signature import Option

_OF_FIELD: Any = object()
"""Default of a key that is the default of its field, or None if the field has none."""


@dataclass(frozen=True)
class Key:
    """Declaration of one key.

    Attributes:
        description: for the reference.
        type: type of the value in a recipe, which may be wider than the field's; None for components and nested sections.
        kind: kind of the component, or of the components of a list.
        unset: default in a recipe, if it is not that of the field, because the field's is computed.
        name: if it is not the field's.
    """

    description: str
    type: Any = None
    kind: str | None = None
    unset: Any = _OF_FIELD
    name: str | None = None


SPREAD = object()
"""Annotation of a field whose own keys are written beside the section's: ``{name: mlm, tied: true, weight: 0.5}``."""


@functools.cache
def declared(section: type) -> Mapping[str, Key]:
    """Return the keys of a section by the names of its fields. All of them have a ``name``."""
    found: dict[str, Key] = {}
    hints = typing.get_type_hints(section, include_extras=True)
    for field in dataclasses.fields(section):
        for key in getattr(hints[field.name], "__metadata__", ()):
            if isinstance(key, Key):
                of_field = None if field.default is dataclasses.MISSING else field.default
                unset = of_field if key.unset is _OF_FIELD else key.unset
                found[field.name] = dataclasses.replace(key, name=key.name or field.name, unset=unset)
    return found


def names(section: type) -> tuple[str, ...]:
    """Return the keys of a section, in the order in which they are written."""
    return tuple(dict.fromkeys(key.name for key in declared(section).values() if key.name))


def values(section: type) -> dict[str, Option]:
    """Return the typed values of a section by key, without its components and nested sections."""
    found = declared(section).values()
    return {key.name: Option(key.name, key.type, key.unset, key.description) for key in found if key.name and key.type is not None}


def kinds(section: type) -> dict[str, str]:
    """Return the kinds of a section's components by key."""
    return {key.name: key.kind for key in declared(section).values() if key.name and key.kind is not None}


def written(part: Any) -> Any:
    """Return a resolved section as recipe data, without empty values that are the default."""
    if isinstance(part, Mapping):
        return {str(name): written(item) for name, item in typing.cast(Mapping[Any, Any], part).items()}
    if isinstance(part, tuple):
        return [written(item) for item in typing.cast(tuple[Any, ...], part)]
    if not _is_section(part):
        return plain(part)
    found: dict[str, Any] = {}
    hints = typing.get_type_hints(type(part), include_extras=True)
    keys = declared(type(part))
    for field in dataclasses.fields(part):
        item = getattr(part, field.name)
        if SPREAD in getattr(hints[field.name], "__metadata__", ()):
            found.update(written(item))
        elif field.name in keys and not (_is_empty(item) and item == _default(field)):
            found[keys[field.name].name or field.name] = written(item)
    return found


def _is_section(part: Any) -> bool:
    return dataclasses.is_dataclass(part) and bool(declared(type(part)))


def _is_empty(item: Any) -> bool:
    return item in (None, (), {}) or _is_section(item)


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
