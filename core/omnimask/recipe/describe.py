"""Options of components and recipe sections, for listings and documentation."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from omnimask.component import Component, kind_of
from omnimask.recipe import keys
from omnimask.recipe.options import options_of_model, plain
from omnimask.recipe.yaml_text import inline
from omnimask.registry import Registry, discover
from omnimask.registry.signature import Option, options_of

_BOUNDS = {
    "gt": ">",
    "ge": ">=",
    "lt": "<",
    "le": "<=",
    "min_length": "length >=",
    "max_length": "length <=",
    "multiple_of": "multiple of",
}


@dataclass(frozen=True)
class OptionSchema:
    """One option. ``type`` includes its range in words; ``default`` is written as in a recipe (None if required)."""

    name: str
    type: str
    default: str | None
    description: str

    @property
    def is_required(self) -> bool:
        return self.default is None


@dataclass(frozen=True)
class ComponentSchema:
    """Component as shown in listings. ``summary`` is the first line of the class's docstring."""

    kind: str
    name: str
    summary: str
    distribution: str
    version: str
    options: tuple[OptionSchema, ...]


def schema_of(kind: str, name: str, registry: Registry | None = None) -> ComponentSchema:
    """Return an installed component with its options, importing its class.

    Raises:
        UserError: the name is unknown, or its class cannot be loaded.
    """
    registry = registry or discover()
    entry = registry.entry(kind, name)
    cls = registry.load(kind, name)
    summary = (inspect.getdoc(cls) or "").partition("\n")[0]
    return ComponentSchema(kind, name, summary, entry.distribution, entry.version, describe(cls))


def describe(cls: type) -> tuple[OptionSchema, ...]:
    """Return the options of a component class, or the keys of a recipe's section (``TrainConfig``, ``PredictorConfig``)."""
    if dataclasses.is_dataclass(cls) and (found := keys.declared(cls)):
        return tuple(_key(key) for key in found.values() if key.description)
    declared: Mapping[str, Option] = options_of_model(cls) if issubclass(cls, BaseModel) else options_of(cls)
    return tuple(
        OptionSchema(option.name, readable(option.annotation), _default(option), option.description) for option in declared.values()
    )


def _key(key: keys.Key) -> OptionSchema:
    """Describe a section's key. A default that depends on other values is part of the description."""
    if key.kind is not None:
        return OptionSchema(key.name or "", f"{key.kind.replace('_', ' ')} component", "", key.description)
    if key.type is None:
        return OptionSchema(key.name or "", "", "", key.description)
    default = "" if key.unset in (None, "", ()) else inline(plain(key.unset))
    return OptionSchema(key.name or "", readable(key.type), default, key.description)


def readable(annotation: Any) -> str:
    """Return an annotation in words: ``int > 0``, ``list of float``, ``position component``, ``auto | cpu``."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        bounds = [bound for extra in arguments[1:] for bound in _bounds(extra)]
        return " ".join([readable(arguments[0]), ", ".join(bounds)]).strip()
    if origin is Component:
        return f"{kind_of(annotation).replace('_', ' ')} component"
    if origin in (Union, types.UnionType):
        return " | ".join(readable(argument) for argument in arguments)
    if origin is Literal:
        return " | ".join(str(plain(argument)) for argument in arguments)
    if annotation in (None, type(None)):
        return "null"
    if arguments:
        return _container(origin, arguments)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"{{{', '.join(options_of_model(annotation))}}}"
    return getattr(annotation, "__name__", str(annotation)).replace("Path", "path").replace("str", "text")


def _container(origin: Any, arguments: tuple[Any, ...]) -> str:
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"mapping of {readable(arguments[0])} to {readable(arguments[1])}"
    items = [readable(argument) for argument in arguments if argument is not Ellipsis]
    if origin is tuple and Ellipsis not in arguments:
        return f"[{', '.join(items)}]"
    return f"list of {', '.join(items)}"


def _bounds(extra: Any) -> list[str]:
    constraints = extra.metadata if isinstance(extra, FieldInfo) else [extra]
    return [
        f"{sign} {getattr(c, name)}" for c in constraints for name, sign in _BOUNDS.items() if getattr(c, name, None) is not None
    ]


def _default(option: Option) -> str | None:
    if option.is_required:
        return None
    return inline(plain(option.default))
