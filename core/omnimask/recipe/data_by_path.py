"""Selection of a data set by the files at a path."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from omnimask.component import Component
from omnimask.errors import UserError
from omnimask.paths import anchored
from omnimask.registry import Registry
from omnimask.registry.signature import options_of


def data_by_path(raw: Any, modalities: Collection[str], registry: Registry, folder: Path | None = None) -> Any:
    """Return ``data`` with a data set for its path, if the named one has no option for a path (an embedded one).

    Args:
        raw: the section as written.
        modalities: names of the recipe's modalities.
        registry: source of suggesters.
        folder: base of relative paths; None for the working directory.

    Raises:
        ValueError: the path is missing, or no installed plugin reads it for these modalities.
    """
    if not isinstance(raw, Mapping) or "path" not in raw or not isinstance(raw.get("name"), str):
        return raw
    path = anchored(Path(str(raw["path"])), folder)
    if raw["name"] not in registry.names("dataset"):
        return raw
    own = options_of(registry.load("dataset", raw["name"]))
    if "path" in own:
        return raw
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    for name in registry.names("suggester"):
        found = _found(name, path, registry)
        if found is not None and found[0] in modalities:
            known = options_of(registry.load("dataset", found[1]["name"]))
            return {**{key: value for key, value in raw.items() if key not in own or key in known}, **found[1]}
    raise ValueError(
        f"data set {raw['name']!r} has no option 'path', and no plugin finds files of {', '.join(modalities)} in "
        f"{path}; choose a data set with data.name=NAME (`omnimask plugins` lists them)"
    )


def _found(name: str, path: Path, registry: Registry) -> tuple[str, Mapping[str, Any]] | None:
    """Return the data found by one suggester; None if its plugin lacks a library."""
    from omnimask.interfaces import Context, FindsData

    try:
        suggester = Component("suggester", name, cls=registry.load("suggester", name))(Context())
    except UserError:
        return None
    return suggester.data(path) if isinstance(suggester, FindsData) else None
