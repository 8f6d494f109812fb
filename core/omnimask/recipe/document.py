"""A parsed recipe as plain data, with the place in a file or on the command line that every value came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]


def dotted(path: KeyPath) -> str:
    """``("predictors", 0, "weight")`` as ``predictors.0.weight``."""
    return ".".join(map(str, path))


@dataclass(frozen=True)
class Place:
    """Where a value was written: a line and column of a file, or an argument of the command line (no line).

    ``order`` sorts the files of one recipe: the recipe itself, what it extends, the command line. ``folder`` is the file's.
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
    """``data`` is plain mappings with string keys, lists and scalars; ``places`` by path; ``renamed`` the former ``name`` of
    components whose name was overridden, by the component's path."""

    data: Any
    places: Mapping[KeyPath, Place]
    renamed: Mapping[KeyPath, str] = field(default_factory=dict[KeyPath, str])

    def place(self, path: KeyPath) -> Place:
        """Place of a value, or of the nearest thing around it that was written."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places[path]

    def where(self, path: KeyPath) -> str:
        """``file:line: dotted.path`` for messages."""
        return f"{self.place(path)}: {dotted(path)}" if path else str(self.place(path))

    def nearness(self, path: KeyPath) -> int:
        """How near to the user a value was written: 2 on the command line, 1 in the recipe, 0 in what that extends."""
        place = self.place(path)
        return 2 if place.is_override else int(place.order == 0)

    def folder(self, path: KeyPath) -> Path | None:
        """Folder of the file that this very value was written in; None where it was not written, or not in a file."""
        return self.places[path].folder if path in self.places else None

    def is_override(self, path: KeyPath) -> bool:
        """Whether the command line wrote this very value."""
        return path in self.places and self.places[path].is_override

    def with_value(self, path: KeyPath, other: Document) -> Document:
        """This document with the whole of another one at ``path``; mappings on the way are created.

        Raises:
            LookupError: something on the way is no mapping, or a list without that index.
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

    def merged_into(self, base: Document) -> Document:
        """This document over ``base``: mappings are merged, all else is replaced, and so are components of another name."""
        data, places = _merge(base.data, self.data, (), {**base.places}, self.places)
        return Document(data, places)


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
    key, rest = path[0], path[1:]
    if isinstance(data, list):
        if not isinstance(key, int) or key >= len(data):
            raise LookupError(f"{dotted(above)} is a list of {len(data)}, counted from 0, and has no {key!r}")
        return [_put(item, rest, value, (*above, key)) if i == key else item for i, item in enumerate(data)]
    if data is None or isinstance(data, dict):
        return {**(data or {}), key: _put((data or {}).get(key), rest, value, (*above, key))}
    raise LookupError(f"{dotted(above)} is the value {data!r} and holds nothing called {key!r}")


def _merge(
    base: Any, over: Any, path: KeyPath, places: dict[KeyPath, Place], new: Mapping[KeyPath, Place]
) -> tuple[Any, dict[KeyPath, Place]]:
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
