"""Constructor rule of components, and the declared options of a constructor. Imports no torch."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WIRING_KEYS: Mapping[str, tuple[str, ...]] = {
    "predictor": ("of", "layer", "weight", "label", "query"),
    "encoder": ("of", "embeddings"),
}
"""Keys that a recipe uses itself beside the options of a component, by kind."""

REQUIRED: Any = inspect.Parameter.empty
"""``default`` of a required option."""


@dataclass(frozen=True)
class Option:
    """One keyword-only parameter: ``annotation`` with its ``Annotated`` metadata, ``default`` or :data:`REQUIRED`."""

    name: str
    annotation: Any
    default: Any
    description: str

    @property
    def is_required(self) -> bool:
        return self.default is REQUIRED


def options_of(cls: type, kind: str = "") -> Mapping[str, Option]:
    """Return the options of a component class, in the constructor's order.

    Args:
        cls: the class.
        kind: of component; its wiring keys are refused as options.

    Raises:
        ValueError: the constructor breaks the rule ``__init__(self, context, *, option: type = default, ...)``.
    """
    init = inspect.unwrap(cls.__init__)
    parameters = list(inspect.signature(init).parameters.values())[1:]
    _check_shape(parameters, kind)
    hints = _annotations(init, [parameter.name for parameter in parameters[1:]])
    documented = _documented(cls)
    return {
        parameter.name: Option(
            parameter.name,
            hints[parameter.name],
            parameter.default,
            _described(hints[parameter.name]) or documented.get(parameter.name, ""),
        )
        for parameter in parameters[1:]
    }


def _check_shape(parameters: list[inspect.Parameter], kind: str) -> None:
    rule = "a component's constructor is __init__(self, context, *, option: type = default, ...)"
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            raise ValueError(f"{stars}{parameter.name} would accept misspelled options; {rule}")
    positional = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    if len(positional) != 1:
        raise ValueError(f"it has {len(positional)} positional parameters ({', '.join(positional)}); it must have one; {rule}")
    for parameter in parameters[1:]:
        if parameter.name in ("name", *WIRING_KEYS.get(kind, ())):
            raise ValueError(f"option {parameter.name!r} has the name of a recipe key; rename it")
        if parameter.annotation is parameter.empty:
            raise ValueError(f"option {parameter.name!r} has no type annotation; {rule}")


def _annotations(init: Any, names: list[str]) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    for name in names:
        holder = types.SimpleNamespace(__annotations__={name: init.__annotations__[name]})
        try:
            hints.update(typing.get_type_hints(holder, globalns=init.__globals__, include_extras=True))
        except NameError as error:
            raise ValueError(
                f"the annotation of option {name!r} cannot be resolved ({error}); import that name outside TYPE_CHECKING"
            ) from error
    return hints


def _described(annotation: Any) -> str:
    """Return the ``description`` of a pydantic ``Field`` in an annotation; an empty string without one."""
    return next((text for extra in getattr(annotation, "__metadata__", ()) if (text := getattr(extra, "description", None))), "")


def _documented(cls: type) -> dict[str, str]:
    """Return descriptions from the ``Args:`` section of a class's (or its constructor's) docstring."""
    text = "\n".join(filter(None, (inspect.getdoc(cls), inspect.getdoc(cls.__init__))))
    found: dict[str, str] = {}
    for section in re.findall(r"^Args:\n((?:(?:[ \t]+.*)?(?:\n|$))+)", text, flags=re.MULTILINE):
        for names, description in re.findall(r"^ {4}([\w, ]+):[ ]*(.*(?:\n {5,}.*)*)", section, flags=re.MULTILINE):
            for name in names.split(","):
                found.setdefault(name.strip(), " ".join(description.split()))
    return found
