"""Discovery of the installed plugins. Each is isolated from the others. Imports no torch."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Collection, Iterable
from importlib.metadata import EntryPoint
from typing import Any

from omnimask.messages.hints import listed, nearest
from omnimask.messages.stdout import printing_to_stderr
from omnimask.registry import hooks
from omnimask.registry.distributions import OWN, PLUGINS, VARIABLE, Failure, Plugin, allowed_names, incompatible, scan
from omnimask.registry.references import shorten
from omnimask.registry.registry import Registrar, Registry
from omnimask.version import __version__

logger = logging.getLogger(__name__)

GROUP = PLUGINS
"""Entry-point group of plugins."""
CORE = "core"
"""Entry point of the framework's own components, which are never excluded."""


@functools.cache
def find() -> Registry:
    """Return the registry of everything installed, restricted by the environment variable ``OMNIMASK_PLUGINS``."""
    points, damaged = scan(GROUP)
    return collect(points, os.environ.get(VARIABLE), damaged)


def collect(points: Iterable[EntryPoint], allowed: str | None = None, damaged: Iterable[Failure] = ()) -> Registry:
    """Load entry points one by one. A failure is recorded, leaves nothing behind, and does not affect the others.

    Args:
        points: entry points of the group ``omnimask``.
        allowed: names of entry points separated by commas; None or empty allows all. ``core`` is always loaded.
        damaged: distributions with unreadable entry points.
    """
    # Omnimask's own plugins come first: their names are reserved.
    found = sorted(
        ((Plugin.of(point), point) for point in points), key=lambda each: (each[0].distribution != OWN, *_order(each[0]))
    )
    names, wanted = {plugin.name for plugin, _ in found}, allowed_names(allowed)
    failures = [_not_installed(name, names) for name in sorted(wanted - names)] + list(damaged)
    registrars: list[Registrar] = []
    reserved: set[tuple[str, str]] = set()
    for plugin, point in found:
        if wanted and plugin.name not in (*wanted, CORE):
            continue
        registrar = Registrar(plugin, () if plugin.distribution == OWN else reserved)
        if (failure := _loaded(point, registrar)) is not None:
            failures.append(failure)
            logger.debug("%s", failure)
            continue
        registrars.append(registrar)
        reserved |= {(entry.kind, entry.name) for entry in registrar.entries if plugin.distribution == OWN}
    left_out = sorted(names - wanted - {CORE}) if wanted else ()
    return Registry(sorted(registrars, key=lambda registrar: _order(registrar.plugin)), failures, left_out)


def register(load: Callable[[], Any], registrar: Registrar) -> None:
    """Load a plugin's module and call its hook.

    Raises:
        ValueError: the module has no hook, or registers something invalid.
        Exception: any error of its code.
    """
    plugin = registrar.plugin
    with printing_to_stderr():
        module = load()
        manager = hooks.manager(f"{plugin.distribution}:{plugin.name}", module)
        registrar.module = module
        registrar.hooks = tuple(caller.name for caller in manager.get_hookcallers(module) or ())
        if not registrar.hooks:
            raise ValueError(
                f"{plugin.module} implements no hook; define omnimask_register(registry) and mark it with @omnimask.hookimpl"
            )
        manager.hook.omnimask_register(registry=registrar)


def _loaded(point: EntryPoint, registrar: Registrar) -> Failure | None:
    plugin = registrar.plugin
    if (refusal := incompatible(point.dist, __version__)) is not None:
        return Failure(plugin, refusal, refusal)
    try:
        if not EntryPoint.pattern.match(point.value):
            raise ValueError(f"the entry point {point.value!r} is invalid; it must have the form 'package.module'")
        register(point.load, registrar)
    except (Exception, SystemExit) as error:
        return Failure(plugin, *shorten(error), tuple(entry.name for entry in registrar.entries))
    return None


def _order(plugin: Plugin) -> tuple[str, str]:
    return plugin.distribution, plugin.name


def _not_installed(name: str, names: Collection[str]) -> Failure:
    cause = f"it is listed in {VARIABLE}, but no installed plugin has this name{nearest(name, names)}; installed: {listed(names)}"
    return Failure(Plugin(name, "no distribution", "-"), cause, cause)
