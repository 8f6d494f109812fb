"""Metadata of installed distributions. A damaged one does not affect the others. Imports no torch."""

from __future__ import annotations

import contextlib
import traceback
from dataclasses import dataclass
from importlib import metadata
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path, PurePath

from packaging.requirements import Requirement

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

    @classmethod
    def of(cls, point: EntryPoint) -> Plugin:
        """Return the plugin of an entry point."""
        return cls(point.name, *identity(point.dist), point.value)

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
    """Return the entry points of a group, and the distributions whose ``entry_points.txt`` is unreadable.

    Distributions are read one by one, since a damaged one would hide the entry points of all others.
    """
    points: list[EntryPoint] = []
    damaged: list[Failure] = []
    seen: set[str] = set()
    for distribution in metadata.distributions():
        name = _folder_name(distribution)[0].lower().replace("-", "_")
        if name in seen:  # shadowed by an earlier folder of sys.path
            continue
        seen.add(name)
        try:
            points += distribution.entry_points.select(group=group)
        except Exception as error:
            raw = (
                error.object
                if isinstance(error, UnicodeDecodeError)
                else (distribution.read_text("entry_points.txt") or "").encode()
            )
            if f"[{group}".encode() in raw:
                plugin = Plugin("?", *identity(distribution))
                cause = f"its entry_points.txt cannot be read ({type(error).__name__}: {error}); reinstall {plugin.distribution}"
                damaged.append(Failure(plugin, cause, traceback.format_exc()))
    return points, damaged


def package(reference: str) -> str:
    """Return the top-level package of ``package.module:attribute``."""
    return reference.partition(":")[0].partition(".")[0].strip()


def identity(distribution: Distribution | None) -> tuple[str, str]:
    """Return name and version; those of the metadata folder's name if the metadata lack them."""
    name, version = _folder_name(distribution)
    with contextlib.suppress(Exception):
        name = (distribution and distribution.name) or name
        version = (distribution and distribution.version) or version
    return name or "an unknown distribution", version or "?"


def _folder_name(distribution: Distribution | None) -> tuple[str, str]:
    stem = PurePath(str(getattr(distribution, "_path", ""))).name.removesuffix(".dist-info").removesuffix(".egg-info")
    name, _, version = stem.partition("-")
    return name, version


def incompatible(distribution: Distribution | None, own: str) -> str | None:
    """Return why a distribution does not work with omnimask ``own``, by its required versions of omnimask; None if it does."""
    for text in _required(distribution):
        with contextlib.suppress(ValueError):  # an invalid requirement excludes nothing
            wanted = Requirement(text)
            applies = wanted.name == OWN and (wanted.marker is None or wanted.marker.evaluate({"extra": ""}))
            if applies and not wanted.specifier.contains(own, prereleases=True):
                name, version = identity(distribution)
                return (
                    f"{name} {version} requires {OWN}{wanted.specifier}, and this is {OWN} {own}: install a compatible "
                    f"version (pip install '{OWN}{wanted.specifier}'), or another version of {name}"
                )
    return None


def _required(distribution: Distribution | None) -> list[str]:
    with contextlib.suppress(Exception):  # unreadable metadata exclude nothing
        return [text for text in (distribution and distribution.requires) or [] if text.startswith(OWN)]
    return []
