"""Parsed recipe as plain data, with the origin of every value in a file or on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]


def dotted(path: KeyPath) -> str:
    """Format ``("predictors", 0, "weight")`` as ``predictors.0.weight``."""
    return ".".join(map(str, path))


@dataclass(frozen=True)
class SourceLocation:
    """Origin of a value: a line and column of a file, or a command-line argument (no line).

    ``order`` sorts the files of one recipe: the recipe itself, its base, the command line. ``folder`` is the file's.
    """

    source: str
    line: int | None = None
    column: int | None = None
    order: int = 0
    folder: Path | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"

    @property
    def is_override(self) -> bool:
        return self.line is None


@dataclass(frozen=True)
class Document:
    """Plain recipe data with origins.

    ``data`` consists of mappings with string keys, lists and scalars; ``places`` are the origins by path. ``renamed`` is the former
    ``name`` of components whose name was overridden, by the component's path.
    """

    data: Any
    places: Mapping[KeyPath, SourceLocation]
    renamed: Mapping[KeyPath, str] = field(default_factory=dict[KeyPath, str])

    def place(self, path: KeyPath) -> SourceLocation:
        """Return the origin of a value, or of its closest written ancestor."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places[path]

    def where(self, path: KeyPath) -> str:
        """Return ``file:line: dotted.path`` for messages."""
        return f"{self.place(path)}: {dotted(path)}" if path else str(self.place(path))

    def nearness(self, path: KeyPath) -> int:
        """Return the precedence of a value's origin: 2 for the command line, 1 for the recipe, 0 for its base."""
        place = self.place(path)
        return 2 if place.is_override else int(place.order == 0)

    def folder(self, path: KeyPath) -> Path | None:
        """Return the folder of the file with exactly this value; None if it was not written, or not in a file."""
        return self.places[path].folder if path in self.places else None

    def is_override(self, path: KeyPath) -> bool:
        """Return whether the command line set exactly this value."""
        return path in self.places and self.places[path].is_override

    def with_value(self, path: KeyPath, other: Document) -> Document:
        """Return this document with another one inserted at ``path``. Missing mappings on the way are created.

        Raises:
            LookupError: an element of the path is not a mapping, or a list without this index.
        """
        places = {key: place for key, place in self.places.items() if key[: len(path)] != path}
        places.update({path + key: place for key, place in other.places.items()})
        for size in range(1, len(path)):
            places.setdefault(path[:size], other.places[()])
        renamed = {key: name for key, name in self.renamed.items() if key[: len(path)] != path}
        if path and path[-1] == "name":
            old = _value(self.data, path)
            if isinstance(old, str) and old != other.data:
                renamed.setdefault(path[:-1], old)
        return Document(_put(self.data, path, other.data, ()), places, renamed)

    def without(self, path: KeyPath) -> Document:
        """Return this document without a key of a mapping."""
        places = {key: place for key, place in self.places.items() if key[: len(path)] != path}
        return Document(_put(self.data, path, _ABSENT, ()), places, self.renamed)

    def merged_into(self, base: Document) -> Document:
        """Merge this document over ``base``. Mappings are merged; everything else, and components of another name, is replaced."""
        data, places = _merge(base.data, self.data, (), {**base.places}, self.places)
        return Document(data, places)


_ABSENT: Any = object()
"""Stands for the value of a key that is removed."""


def _value(data: Any, path: KeyPath) -> Any:
    for key in path:
        if isinstance(data, list) and isinstance(key, int) and key < len(data):
            data = data[key]
        elif isinstance(data, dict):
            data = data.get(key)
        else:
            return None
    return data


def _put(data: Any, path: KeyPath, value: Any, above: KeyPath) -> Any:
    if not path:
        return value
    if value is _ABSENT and len(path) == 1:
        return {key: item for key, item in data.items() if key != path[0]}
    key, rest = path[0], path[1:]
    if isinstance(data, list):
        if not isinstance(key, int) or key >= len(data):
            raise LookupError(f"{dotted(above)} has {len(data)} entries (the first is 0); entry {key!r} does not exist")
        return [_put(item, rest, value, (*above, key)) if i == key else item for i, item in enumerate(data)]
    if data is None or isinstance(data, dict):
        return {**(data or {}), key: _put((data or {}).get(key), rest, value, (*above, key))}
    raise LookupError(f"{dotted(above)} is {data!r}, not a mapping, so it has no key {key!r}")


def _merge(
    base: Any, over: Any, path: KeyPath, places: dict[KeyPath, SourceLocation], new: Mapping[KeyPath, SourceLocation]
) -> tuple[Any, dict[KeyPath, SourceLocation]]:
    are_mappings = isinstance(base, dict) and isinstance(over, dict)
    if not are_mappings or over.get("name", base.get("name")) != base.get("name", over.get("name")):
        places = {key: place for key, place in places.items() if key[: len(path)] != path}
        places.update({key: place for key, place in new.items() if key[: len(path)] == path})
        return over, places
    merged = dict(base)
    places[path] = new[path]
    for key, value in over.items():
        merged[key], places = _merge(base.get(key), value, (*path, key), places, new)
    return merged, places
