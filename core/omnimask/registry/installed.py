"""Discovery of the installed plugins. Each registrar hook is isolated from the others. Imports no torch."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint
from typing import Any

from omnimask.messages.hints import listed, nearest
from omnimask.messages.stdout import printing_to_stderr
from omnimask.registry import hooks
from omnimask.registry.distributions import OWN, PLUGINS, VARIABLE, Failure, Plugin, allowed_names, identity, incompatible, scan
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
    found = sorted(points, key=lambda point: (_plugin(point).distribution, point.name))
    reserved: set[tuple[str, str]] = set()
    wanted = allowed_names(allowed)
    registrars: list[Registrar] = []
    failures = [_not_installed(name, found) for name in sorted(wanted - {point.name for point in found})]
    failures += damaged
    left_out: list[str] = []
    for point in sorted(found, key=lambda point: _plugin(point).distribution != OWN):  # what is reserved comes first
        if wanted and point.name not in (*wanted, CORE):
            left_out.append(point.name)
            continue
        is_own = _plugin(point).distribution == OWN
        registrar = Registrar(_plugin(point), () if is_own else reserved)
        if (refusal := incompatible(point.dist, __version__)) is not None:
            failures.append(Failure(registrar.plugin, refusal, refusal))
            continue
        try:
            register(functools.partial(_module, point), registrar)
        except (Exception, SystemExit) as error:
            cause, trace = shorten(error)
            failures.append(Failure(registrar.plugin, cause, trace, tuple(entry.name for entry in registrar.entries)))
            logger.debug("%s", failures[-1])
        else:
            registrars.append(registrar)
            reserved |= {(entry.kind, entry.name) for entry in registrar.entries} if is_own else set()
    registrars.sort(key=lambda registrar: (registrar.plugin.distribution, registrar.plugin.name))
    return Registry(registrars, failures, left_out)


def _plugin(point: EntryPoint) -> Plugin:
    name, version = identity(point.dist)
    return Plugin(point.name, name, version, point.value)


def _module(point: EntryPoint) -> Any:
    if not EntryPoint.pattern.match(point.value):
        raise ValueError(f"the entry point {point.value!r} names no module; it has the form 'package.module'")
    return point.load()


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
    registrar.hooks = tuple(caller.name for caller in manager.get_hookcallers(module) or ())
    if not registrar.hooks:
        raise ValueError(
            f"{plugin.module} has no function omnimask_register(registry) marked with @omnimask.hookimpl, nor another hook"
        )
    registrar.module = module
    with printing_to_stderr():
        manager.hook.omnimask_register(registry=registrar)


def _not_installed(name: str, found: Iterable[EntryPoint]) -> Failure:
    names = [point.name for point in found]
    cause = f"{VARIABLE} names it, and no installed plugin has that name{nearest(name, names)}; installed: {listed(names)}"
    return Failure(Plugin(name, "no distribution", "-"), cause, cause)
