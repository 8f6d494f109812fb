"""Metadata of installed distributions. A damaged one does not affect the others. Imports no torch."""

from __future__ import annotations

import contextlib
import traceback
from dataclasses import dataclass
from importlib import metadata
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

OWN = "omnimask"
"""The framework's own distribution."""
PLUGINS = "omnimask"
"""Entry-point group of plugins."""
COMMANDS = "omnimask.commands"
"""Entry-point group of the plugins' commands."""
VARIABLE = "OMNIMASK_PLUGINS"
"""Environment variable with the only plugins to use, separated by commas."""


def allowed_names(allowed: str | None) -> set[str]:
    """Return the names in a comma-separated list; empty for no restriction."""
    return {name.strip() for name in (allowed or "").split(",")} - {""}


@dataclass(frozen=True)
class Plugin:
    """One entry point of the group ``omnimask`` and its distribution.

    A single ``file`` of a recipe has the file's name as distribution and the beginning of its digest as version.
    """

    name: str
    distribution: str
    version: str
    module: str = ""
    file: Path | None = None

    def __str__(self) -> str:
        return f"plugin {self.name!r} of {self.distribution} {self.version}"


@dataclass(frozen=True)
class Failure:
    """Plugin that failed to load: ``cause`` in one line, the ``traceback``, and the ``names`` registered before."""

    plugin: Plugin
    cause: str
    traceback: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.plugin} could not be loaded: {self.cause}"


def scan(group: str) -> tuple[list[EntryPoint], list[Failure]]:
    """Return the entry points of a group, and unreadable distributions that may contain some."""
    try:
        return list(metadata.entry_points(group=group)), []
    except Exception:  # one distribution with broken metadata; read them one by one to find it
        return _one_by_one(group)


def _one_by_one(group: str) -> tuple[list[EntryPoint], list[Failure]]:
    points: list[EntryPoint] = []
    damaged: list[Failure] = []
    seen: set[str] = set()
    for distribution in metadata.distributions():
        name, version = identity(distribution)
        if name.lower().replace("-", "_") in seen:  # the first one on the path is the one that is imported
            continue
        seen.add(name.lower().replace("-", "_"))
        try:
            points += [point for point in distribution.entry_points if point.group == group]
        except Exception as error:
            if f"[{group}" in _raw(distribution):
                cause = f"its entry_points.txt cannot be read ({type(error).__name__}: {error}); install {name} again"
                damaged.append(Failure(Plugin("?", name, version), cause, traceback.format_exc()))
    return points, damaged


def identity(distribution: Distribution | None) -> tuple[str, str]:
    """Return name and version, from the metadata folder's name if the metadata lack them."""
    name: Any = None
    version: Any = None
    with contextlib.suppress(Exception):
        name = distribution.name if distribution else None
    with contextlib.suppress(Exception):
        version = distribution.version if distribution else None
    if name and version:
        return str(name), str(version)
    stem = PurePath(str(getattr(distribution, "_path", ""))).name.removesuffix(".dist-info").removesuffix(".egg-info")
    return str(name or stem.partition("-")[0] or "an unknown distribution"), str(version or stem.partition("-")[2] or "?")


def incompatible(distribution: Distribution | None, own: str) -> str | None:
    """Return why a distribution cannot work with omnimask ``own``, by its required versions of omnimask; None if it can."""
    wanted: list[str] = []
    with contextlib.suppress(Exception):  # metadata that cannot be read forbid nothing
        wanted = [text for text in (distribution.requires if distribution else None) or [] if text.startswith(OWN)]
    for text in wanted:
        specifier = _specifier(text)
        if specifier is not None and not specifier.contains(own, prereleases=True):
            name, version = identity(distribution)
            return (
                f"{name} {version} requires {OWN}{specifier}, and this is {OWN} {own}: install a version of {OWN} that it "
                f"works with (pip install '{OWN}{specifier}'), or another version of {name}"
            )
    return None


def _specifier(text: str) -> SpecifierSet | None:
    """Return the versions of omnimask allowed by a requirement. Return None for other packages, or if it does not apply here."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    except (InvalidRequirement, ValueError):
        return None
    return requirement.specifier if requirement.name == OWN and applies else None


def _raw(distribution: Distribution) -> str:
    """Return the text of ``entry_points.txt`` in any encoding."""
    try:
        return distribution.read_text("entry_points.txt") or ""
    except UnicodeDecodeError as error:
        return error.object.decode("utf-8", "replace")
