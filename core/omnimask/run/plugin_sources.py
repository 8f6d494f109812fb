"""Code dependencies of a run: plugins in use, their versions, and a digest of their source files."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omnimask.recipe import Recipe
from omnimask.recipe.components import components_of
from omnimask.registry import Plugin, Registry, discover
from omnimask.registry.hooks import RUN_TIME

CORE_PACKAGE = "omnimask"
"""Package of the framework."""


def plugin_versions(recipe: Recipe, registry: Registry | None = None) -> dict[str, str]:
    """Return the version by name of every distribution whose components or hooks are used, without plugin files."""
    plugins = [plugin for plugin, _ in _used(recipe, registry or discover()) if plugin.file is None]
    return {plugin.distribution: plugin.version for plugin in sorted(plugins, key=lambda plugin: plugin.distribution)}


def source_digests(recipe: Recipe, registry: Registry | None = None) -> dict[str, str]:
    """Return a digest by package of the Python files of every plugin used in a run, without packages lacking files."""
    packages = {_package(module) for _, module in _used(recipe, registry or discover())} | {CORE_PACKAGE}
    digests = {package: digest_of(package) for package in sorted(packages)}
    return {package: digest for package, digest in digests.items() if digest is not None}


def components_by_distribution(recipe: Recipe, registry: Registry | None = None) -> dict[str, list[str]]:
    """Return kinds and names of a recipe's components (``masker waves.window``) by distribution."""
    registry = registry or discover()
    found: dict[str, set[str]] = {}
    for component in components_of(recipe):
        entry = registry.entry(component.kind, component.name)
        found.setdefault(entry.distribution, set()).add(f"{component.kind.replace('_', ' ')} {component.name}")
    return {name: sorted(found[name]) for name in sorted(found)}


def missing_plugins(environment: Mapping[str, Any]) -> list[str]:
    """Return a message for each missing distribution of a run's ``environment.json``: version, components, and remedy."""
    versions, brought = environment.get("plugins", {}), environment.get("components", {})
    told: list[str] = []
    for name, version in versions.items() if isinstance(versions, Mapping) else ():
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            what = ", ".join(brought.get(name, ())) if isinstance(brought, Mapping) else ""
            told.append(
                f"the run used {name}=={version}{f' ({what})' if what else ''}, which is not installed here: "
                f"pip install '{name}=={version}'"
            )
    return told


def digest_of(package: str) -> str | None:
    """Return the digest of a package's Python files with their names, or of a module's file; None if there are none."""
    files = list(_files(package))
    if not files:
        return None
    digest = blake2b(digest_size=16)
    for name, path in files:
        data = path.read_bytes()
        digest.update(f"{name}\0{len(data)}\0".encode("utf-8", "surrogateescape") + data)
    return digest.hexdigest()


def _used(recipe: Recipe, registry: Registry) -> Iterator[tuple[Plugin, str]]:
    """Yield the plugins in use, each with a module of its code: its registration, a component's class, or its hooks."""
    for component in components_of(recipe):
        entry = registry.entry(component.kind, component.name)
        reference = entry.reference
        yield entry.plugin, reference.__module__ if isinstance(reference, type) else reference.partition(":")[0]
        yield entry.plugin, entry.plugin.module.partition(":")[0] or CORE_PACKAGE
    for plugin, module in registry.implementing(*RUN_TIME):
        yield plugin, getattr(module, "__name__", plugin.module)


@functools.cache
def _package(module: str) -> str:
    """Return a module's outermost package with files of its own, since several distributions may share a namespace package."""
    parts = module.split(".")
    for depth in range(1, len(parts)):
        spec = find_spec(".".join(parts[:depth]))
        if spec is not None and spec.origin is not None:
            return ".".join(parts[:depth])
    return module


def _files(package: str) -> Iterator[tuple[str, Path]]:
    """Yield the Python files of a package with their relative names, in order."""
    spec = find_spec(package)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return
    origin = Path(spec.origin)
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if not folders:
        yield origin.name, origin
    for folder in folders:
        found = ((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*.py"))
        yield from sorted(found)
