"""Validators of constructor options, built from their annotations."""

from __future__ import annotations

import functools
import json
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Union

from pydantic import PlainValidator, PydanticUserError, TypeAdapter

from omnimask.component import Component, kind_of
from omnimask.errors import UserError
from omnimask.registry.signature import Option


def validator(option: Option, owner: str) -> TypeAdapter[Any]:
    """Return the validator of an option's JSON. Values annotated ``Component[...]`` become unresolved components.

    Raises:
        UserError: the annotation is unsupported in recipes, a mistake of the component.
    """
    try:
        return _adapter(option.annotation)
    except (PydanticUserError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()).partition(" For further information")[0]
        raise UserError(f"{owner}: the annotation of option {option.name!r} cannot be used in a recipe: {reason}") from error


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        hash(annotation)
    except TypeError:
        return _make_adapter(annotation)
    return _cached_adapter(annotation)


def _make_adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(_without_components(annotation))


_cached_adapter = functools.lru_cache(maxsize=1024)(_make_adapter)


def _without_components(annotation: Any) -> Any:
    """Replace every ``Component[...]`` in an annotation by a type that pydantic can validate."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Component or annotation is Component:
        return Annotated[Any, PlainValidator(_unresolved(kind_of(annotation)))]
    if origin is Annotated:
        return Annotated[(_without_components(arguments[0]), *arguments[1:])]  # pyright: ignore[reportInvalidTypeForm]
    changed = tuple(_without_components(argument) for argument in arguments)
    if all(new is old for new, old in zip(changed, arguments, strict=True)):
        return annotation
    return Union[changed] if origin in (Union, types.UnionType) else typing.cast(Any, origin)[changed]  # noqa: UP007


def _unresolved(kind: str) -> Callable[[Any], Component[Any]]:
    def unresolved(value: Any) -> Component[Any]:
        if not isinstance(value, Mapping):
            name = value if isinstance(value, str) else "..."
            raise ValueError(f"must be a {kind.replace('_', ' ')} like {json.dumps({'name': name})}")
        return Component(kind, str(value.get("name", "")), value)

    return unresolved
