"""Spellings of recipes of earlier versions, replaced by today's with the same meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from omnimask.data.view_names import MAIN
from omnimask.recipe.document import Document, KeyPath
from omnimask.recipe.problems import Problems

_ASKING = ("substitute", "cluster_substitute", "swap")
"""Corruptors that had the option ``ask``, which is now a key of views."""


def modernised(document: Document, problems: Problems) -> Document:
    """Return a document in today's spelling. Report spellings that have none."""
    return _with_ask(document, problems) if isinstance(document.data, Mapping) else document


def _with_ask(document: Document, problems: Problems) -> Document:
    """Move the option ``ask`` of corruptors to their views."""
    views = {
        view: [place for root in roots for place in _asks(document.data, root)] for view, roots in _roots(document.data).items()
    }
    found = [place for places in views.values() for place, value in places if value is not None]
    if not found:
        return document
    asked = {view: {value for _, value in places} for view, places in views.items()}
    for view, values in asked.items():
        if "all" in values and len(values) > 1:
            place = next(place for place, value in views[view] if value == "all")
            problems.add(
                document,
                (*place, "ask"),
                f"is now a key of views, and applies to all corruptors of a view: views: {{{view}: {{ask: all}}}}; this recipe "
                "asks for all tokens of some corruptors only, which a single view cannot do",
            )
    changed = document
    for view in views:
        own = views[view] or views[MAIN]  # without a corruptor of its own, a view has that of the main one
        told = [place for place, value in own if value is not None]
        if not told:
            continue
        path = ("views", view, "ask")
        if "all" in asked[view if views[view] else MAIN]:
            changed = changed.with_value(path, Document("all", {(): document.place((*told[0], "ask"))}))
        elif path in changed.places:
            is_alone = len(changed.data["views"][view]) == 1  # a view without keys is not valid
            changed = changed.without(path[:-1] if is_alone else path)
    for place in found:
        changed = changed.without((*place, "ask"))
    return changed


def _roots(data: Mapping[str, Any]) -> dict[str, list[KeyPath]]:
    """Return the paths of the corruptors of each view: none for a view that has those of the main one."""
    modalities, views = _mapping(data.get("modalities")), _mapping(data.get("views"))
    own: list[KeyPath] = [("modalities", name, "corruptor") for name, part in modalities.items() if "corruptor" in _mapping(part)]
    found: dict[str, list[KeyPath]] = {MAIN: [*own, *([("corruptor",)] if "corruptor" in data else [])]}
    for name, view in views.items():
        if name != MAIN:
            found[name] = [("views", name, "corruptor")] if "corruptor" in _mapping(view) else []
    return found


def _asks(data: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str | None]]:
    """Yield the innermost corruptors at or below a path, with the value of their option ``ask`` (None if they have none)."""
    part = data
    for key in path:
        part = part[key]
    yield from _innermost(part, path)


def _innermost(part: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str | None]]:
    raw = _mapping(part)
    inner = [
        found
        for key, value in raw.items()
        for place, item in ([((*path, key), value)] if not isinstance(value, list) else _items(value, (*path, key)))
        for found in (_innermost(item, place) if "name" in _mapping(item) else ())
    ]
    value = raw.get("ask") if raw.get("name") in _ASKING else None
    yield from inner or [(path, value if value in ("targets", "all") else None)]


def _items(values: list[Any], path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    return (((*path, index), item) for index, item in enumerate(values))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
