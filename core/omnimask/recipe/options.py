"""Validation of a component's options in a recipe against its constructor."""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ValidationError
from pydantic_core import to_jsonable_python

from omnimask.component import Component
from omnimask.errors import UserError
from omnimask.messages.hints import listed, nearest
from omnimask.paths import FOLDER, anchored
from omnimask.recipe.document import Document, KeyPath
from omnimask.recipe.problems import Problems
from omnimask.recipe.validators import validator
from omnimask.recipe.yaml_text import UNSET
from omnimask.registry import Registry
from omnimask.registry.signature import REQUIRED, Option, options_of

_ON_COMMAND_LINE = {
    "max_time": "--max-time 3h50m",
    "devices": "--devices 2",
    "run": "--run DIR",
    "smoke": "--smoke",
}
INVALID: Any = object()
"""Result of validation for an invalid value that was reported."""


class Resolver:
    """Resolver of parts of a document into validated values and components. Problems are reported.

    Args:
        document: the recipe, overrides applied.
        registry: source of components.
        problems: collects all problems.
        forgive_missing: don't report missing required options (data that a smoke run replaces).
        smoke: take missing required options from ``smoke`` of their class.
    """

    def __init__(
        self, document: Document, registry: Registry, problems: Problems, *, forgive_missing: bool = False, smoke: bool = False
    ) -> None:
        self.document, self.registry, self.problems = document, registry, problems
        self.forgive_missing, self.smoke = forgive_missing, smoke

    def component(self, kind: str, raw: Any, path: KeyPath, *, apart: Sequence[str] = ()) -> Component[Any] | None:
        """Resolve a component from ``{name: ..., ...options}``. Return None if a problem was reported.

        Args:
            kind: expected kind.
            raw: value at ``path`` (or a default without a path).
            path: for messages.
            apart: keys besides ``name`` that are not options of the component and are read elsewhere.
        """
        if not isinstance(raw, Mapping):
            self.problems.add(self.document, path, f"must be a {_words(kind)} like {{name: {_shown(raw)}}}")
            return None
        name = raw.get("name")
        if not isinstance(name, str) or name == UNSET:
            known = listed(self.registry.names(kind))
            if not self.forgive_missing:
                self.problems.missing(self.document, (*path, "name"), f"a {_words(kind)}; installed: {known}")
            return None
        try:
            cls = self.registry.load(kind, name)
        except UserError as error:
            self.problems.add(self.document, (*path, "name"), error.messages[0])
            return None
        given = {key: value for key, value in raw.items() if key != "name" and key not in apart}
        declared = _without_defaults(cls, options_of(cls), given)
        if self.smoke:
            given = {**_stand_ins(cls, declared), **given}
        if taken := [option for option in declared if option in apart]:
            message = f"{cls.__qualname__} declares {listed(taken)}, which is a key of {path[0]}; rename it in the class"
            self.problems.add(self.document, (*path, "name"), message)
        options = self.options(declared, given, path, f"{_words(kind)} {name!r}", apart)
        if options is None:
            return None
        return Component(kind, name, options, self.document.where(path), cls)

    def options(
        self, declared: Mapping[str, Option], raw: Mapping[str, Any], path: KeyPath, owner: str, apart: Sequence[str] = ()
    ) -> dict[str, Any] | None:
        """Return every declared option with its value or default, or None if a problem was reported.

        Args:
            declared: the options by name.
            raw: values of the recipe.
            path: of these values.
            owner: of the options, for messages.
            apart: other valid keys, for hints.
        """
        before = len(self.problems)
        for key in raw:
            if key not in declared:
                self.problems.add(self.document, (*path, key), self._unknown(key, (*declared, *apart), path, owner))
        values = {name: self.option(option, raw, path, owner) for name, option in declared.items()}
        if len(self.problems) > before or any(value is INVALID for value in values.values()):
            return None
        return values

    def option(self, option: Option, raw: Mapping[str, Any], path: KeyPath, owner: str) -> Any:
        """Return one option's value or default. Report a missing one."""
        place = (*path, option.name)
        value = raw.get(option.name, UNSET if option.is_required else REQUIRED)
        if value is REQUIRED:
            return self._default(option, place, owner)
        holes = list(_holes(value, place))
        for hole in holes if not self.forgive_missing else ():
            self.problems.missing(self.document, hole, option.description, example=_example(option))
        return INVALID if holes else self.value(option, value, place, owner)

    def value(self, option: Option, value: Any, path: KeyPath, owner: str) -> Any:
        """Validate a value against the option's annotation and resolve nested components.

        Report errors and return :data:`INVALID`.
        """
        model = typing.get_args(option.annotation)[0] if typing.get_origin(option.annotation) is Annotated else option.annotation
        if isinstance(model, type) and issubclass(model, BaseModel) and isinstance(value, Mapping):
            fields = self.options(options_of_model(model), value, path, option.name)
            return INVALID if fields is None else model(**fields)
        try:
            validated = validator(option, owner).validate_json(
                json.dumps(value), strict=True, context={FOLDER: self.document.folder(path)}
            )
        except ValidationError as error:
            for place, message in _explained(error, value, path):
                self.problems.add(self.document, place, message)
            return INVALID
        except UserError as error:
            self.problems.add(self.document, path, error.messages[0])
            return INVALID
        except (OSError, ArithmeticError) as error:  # from a component's own validator
            self.problems.add(self.document, path, f"{getattr(error, 'strerror', None) or error} (got {_shown(value)})")
            return INVALID
        return self._nested(validated, value, path)

    def _nested(self, validated: Any, raw: Any, path: KeyPath) -> Any:
        if isinstance(validated, Component):
            component = self.component(validated.kind, raw, path)
            return INVALID if component is None else component
        if type(validated) in (list, tuple) and isinstance(raw, list):
            items = [self._nested(item, raw[index], (*path, index)) for index, item in enumerate(validated)]
            return INVALID if any(item is INVALID for item in items) else type(validated)(items)
        if type(validated) is dict and isinstance(raw, Mapping):
            nested = {key: self._nested(item, raw.get(str(key)), (*path, str(key))) for key, item in validated.items()}
            return INVALID if any(item is INVALID for item in nested.values()) else nested
        if isinstance(validated, Path):
            return self._anchored(validated, path)
        return validated

    def _anchored(self, value: Path, path: KeyPath) -> Any:
        try:
            return anchored(value, self.document.folder(path))
        except ValueError as error:
            self.problems.add(self.document, path, str(error))
            return INVALID

    def _default(self, option: Option, path: KeyPath, owner: str) -> Any:
        inner = Problems()
        try:
            raw = plain(option.default)
        except ValueError as error:
            self.problems.add(self.document, path, f"a default of {owner} cannot be written to a recipe: {error}")
            return INVALID
        value = Resolver(self.document, self.registry, inner).value(option, raw, path, owner)
        for message in inner.messages():
            self.problems.add(self.document, path, f"a default of {owner} is invalid: {message}")
        return value

    def _unknown(self, key: str, known: Sequence[str], path: KeyPath, owner: str) -> str:
        former = self.document.renamed.get(path)
        if former is not None and not self.document.is_override((*path, key)):
            return (
                f"is an option of {former!r}, which was replaced by {owner}; replace the whole component: "
                f"{'.'.join(map(str, path))}='{{name: ...}}'"
            )
        if path == ("train",) and key in _ON_COMMAND_LINE:
            return f"{key!r} is not a recipe key but an option of the command: {_ON_COMMAND_LINE[key]}"
        return f"{owner} has no option {key!r}{nearest(key, known)}; options: {listed(known)}"


def _example(option: Option) -> str:
    """Return a placeholder for the option's value in an example: the word for its path in the description, or ``VALUE``."""
    named = [word for word in ("FOLDER", "FILE") if re.search(rf"\b{word}\b", option.description, re.IGNORECASE)]
    if len(named) == 1:
        return named[0]
    return "PATH" if named or Path in (option.annotation, *typing.get_args(option.annotation)) else "VALUE"


def _stand_ins(cls: type, declared: Mapping[str, Option]) -> Mapping[str, Any]:
    """Return a class's values in smoke runs for options without a default (for example its own file)."""
    smoke: Any = getattr(cls, "smoke", {})
    return (
        {}
        if callable(smoke)
        else {name: plain(smoke[name]) for name, option in declared.items() if option.is_required and name in smoke}
    )


def _without_defaults(cls: type, declared: Mapping[str, Option], given: Mapping[str, Any]) -> Mapping[str, Option]:
    """Make an option required unless the one that may replace it is given: ``instead_of = {"path": "url"}`` of the class."""
    instead: Mapping[str, str] = getattr(cls, "instead_of", {})
    needed = {name for name, other in instead.items() if name in declared and name not in given and given.get(other) is None}
    return {name: dataclasses.replace(option, default=REQUIRED) if name in needed else option for name, option in declared.items()}


def options_of_model(model: type[BaseModel]) -> Mapping[str, Option]:
    """Return the fields of a pydantic model as options, under their names in recipes."""
    hints = typing.get_type_hints(model, include_extras=True)
    return {
        key: Option(key, hints[name], REQUIRED if field.is_required() else field.get_default(), field.description or "")
        for name, field in model.model_fields.items()
        for key in (field.serialization_alias or name,)
    }


def plain(value: Any) -> Any:
    """Convert a validated value to recipe data: components to ``{name: ...}``, tuples to lists, paths to strings."""
    if isinstance(value, Component):
        return {"name": value.name, **plain(value.options)}
    if isinstance(value, BaseModel):
        return plain({field.serialization_alias or name: getattr(value, name) for name, field in type(value).model_fields.items()})
    if isinstance(value, Mapping):
        return {str(to_jsonable_python(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return to_jsonable_python(value, inf_nan_mode="constants")


def _holes(value: Any, path: KeyPath) -> typing.Iterator[KeyPath]:
    if value == UNSET:
        yield path
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _holes(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _holes(item, (*path, index))


def _explained(error: ValidationError, value: Any, path: KeyPath) -> list[tuple[KeyPath, str]]:
    """Return pydantic's errors by path in the recipe. The alternatives of a union are one message."""
    reasons: dict[KeyPath, list[str]] = {}
    shown: dict[KeyPath, str] = {}
    for item in error.errors(include_url=False):
        place, data = path, value
        for key in item["loc"]:
            if isinstance(data, Mapping) and str(key) in data:
                place, data = (*place, str(key)), data[str(key)]
            elif isinstance(data, list) and isinstance(key, int) and key < len(data):
                place, data = (*place, key), data[key]
        message = item["msg"].removeprefix("Value error, ").replace("Input should", "must", 1)
        message = f"{item['loc'][-1]} is required" if item["type"] == "missing" else message
        if message not in reasons.setdefault(place, []):
            reasons[place].append(message)
        shown[place] = _shown(data)
    return [(place, f"{' or '.join(messages)} (got {shown[place]}){_comma(shown[place])}") for place, messages in reasons.items()]


def _comma(shown: str) -> str:
    """Return a hint for a decimal comma, as in ``1,00e-3``."""
    text = shown.strip('"')
    return f"; use a decimal point: {text.replace(',', '.')}" if re.fullmatch(r"[-+]?\d+,\d+([eE][-+]?\d+)?", text) else ""


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _words(kind: str) -> str:
    return {"dataset": "data set"}.get(kind, kind.replace("_", " "))
