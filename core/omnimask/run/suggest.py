"""Recipe suggestions for a user's folder or file, from all installed suggesters."""

from __future__ import annotations

from pathlib import Path

from omnimask.component import Component
from omnimask.data.walk import endings, walk
from omnimask.errors import UserError
from omnimask.interfaces import Context, Suggestion
from omnimask.messages.hints import listed
from omnimask.pretrained import model_type
from omnimask.registry import Registry, discover


def suggest(folder: Path, registry: Registry | None = None) -> list[Suggestion]:
    """Return suggestions for a folder or a single file, the one that covers most files first.

    Args:
        folder: of the user's, or a file.
        registry: source of suggesters; the default is the installed ones.

    Raises:
        UserError: the path is missing, the folder is empty, or no suggester supports its files.
    """
    folder = folder.expanduser().absolute()
    registry = registry or discover()
    names = _names(folder)
    found: list[Suggestion] = []
    reasons: dict[str, str] = {}
    for name in registry.names("suggester"):
        try:
            component = Component("suggester", name, cls=registry.load("suggester", name))
            suggestion = component(Context())(folder)
        except ValueError as error:
            reasons.setdefault(str(error), name)
        else:
            found += [] if suggestion is None else [suggestion]
    if not found:
        raise UserError(_nothing(folder, names, registry), *(f"{name}: {reason}" for reason, name in reasons.items()))
    return sorted(found, key=lambda suggestion: -suggestion.num_files)


def _names(folder: Path) -> list[str]:
    if not folder.exists():
        raise UserError(f"{folder} does not exist")
    if folder.is_file():
        return [folder.name]
    if not folder.is_dir():
        raise UserError(f"{folder} is neither a folder nor a regular file")
    try:
        names = [name for name, _ in walk(folder)]
    except ValueError as error:
        raise UserError(str(error)) from error
    if not names:
        raise UserError(f"{folder} is empty: neither it nor its subfolders contain files (hidden files are ignored)")
    return names


def _nothing(folder: Path, names: list[str], registry: Registry) -> str:
    entries = registry.entries("suggester")
    asked = listed({f"{entry.name} ({entry.plugin.name} of {entry.distribution} {entry.version})" for entry in entries})
    if folder.is_file():
        return f"{folder} is a file; give a folder of files, or a file that an installed plugin reads (rows, text); asked: {asked}"
    message = (
        f"no installed plugin can make a recipe for {folder}{_held(folder)}: of its {len(names):,} files, {endings(names, 10)}; "
        f"asked: {asked}"
    )
    failures = "".join(f"\n  {failure}" for failure in registry.failures)
    left_out = f"; left out by OMNIMASK_PLUGINS: {listed(registry.left_out)}" if registry.left_out else ""
    return f"{message}{left_out}{failures}"


def _held(folder: Path) -> str:
    """Return a note with the type of the model in a folder, for a message."""
    try:
        kind = model_type(folder)
    except ValueError:
        return ""
    return f", which contains a model of type {kind!r}" if kind else ""
