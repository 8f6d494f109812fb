"""Commands of plugins, from the entry-point group ``omnimask.commands``: listed from metadata, imported when called.

An entry point is ``name = "package.module:function"``. The function's parameters are the command's: plain types, or ``Annotated``
with ``typer.Argument`` and ``typer.Option``. Its docstring is the help text.
"""

from __future__ import annotations

import ast
import functools
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from omnimask.errors import UserError
from omnimask.registry.distributions import COMMANDS, PLUGINS, VARIABLE, allowed_names, identity, incompatible, scan
from omnimask.registry.references import load
from omnimask.version import __version__


@dataclass(frozen=True)
class Command:
    """One entry point of the group.

    ``extras`` are declared by the entry point (``package.module:function [extra]``). ``refusal`` is the reason why its distribution
    does not work with this version of omnimask.
    """

    name: str
    reference: str
    distribution: str
    version: str
    extras: tuple[str, ...] = ()
    refusal: str | None = None

    def __str__(self) -> str:
        return f"command {self.name!r} of {self.distribution} {self.version}"

    def summary(self) -> str:
        """Return the first paragraph of the function's docstring, or an empty string if it cannot be found.

        The source is parsed, not run.
        """
        module, _, function = self.reference.partition(":")
        try:
            source = _source(module)
            nodes = ast.parse(source.read_bytes()).body if source else []
        except (OSError, SyntaxError, ValueError, ImportError):
            return ""
        found = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name == function]
        return " ".join((ast.get_docstring(found[-1]) or "").partition("\n\n")[0].split()) if found else ""

    def load(self) -> Callable[..., Any]:
        """Return the function.

        Raises:
            UserError: it cannot be imported, or is not a function. The message contains the cause.
        """
        if self.refusal is not None:
            raise UserError(f"{self}: {self.refusal}")
        function = load(self.reference, str(self), self.distribution, self.extras)
        if not callable(function):
            raise UserError(f"{self}: {self.reference} is no function but {function!r}")
        return function


@functools.cache
def find() -> tuple[Command, ...]:
    """Return the commands of the installed plugins, restricted by the environment variable ``OMNIMASK_PLUGINS``."""
    return select(scan(COMMANDS)[0], scan(PLUGINS)[0], os.environ.get(VARIABLE))


def select(points: Iterable[EntryPoint], plugins: Iterable[EntryPoint], allowed: str | None) -> tuple[Command, ...]:
    """Return commands sorted by name and distribution.

    Args:
        points: entry points of the group ``omnimask.commands``.
        plugins: entry points of the group ``omnimask``.
        allowed: names of plugins separated by commas; None or empty allows all. A command belongs to the plugins of its
            distribution with the same top-level package; if none does, to all plugins of its distribution.
    """
    wanted, plugins = allowed_names(allowed), list(plugins)
    chosen = [point for point in points if not wanted or wanted & _owners(point, plugins)]
    return tuple(sorted(map(_command, chosen), key=lambda command: (command.name, command.distribution)))


def clashes(commands: Sequence[Command], builtin: Collection[str], own: str) -> list[str]:
    """Return messages about commands with conflicting names. ``own`` is the distribution of the ``builtin`` ones."""
    found = [
        f"{command} cannot be used: omnimask itself ({own}) has a command of that name; it is the plugin's to rename"
        for command in commands
        if command.name in builtin
    ]
    names = sorted({command.name for command in commands} - set(builtin))
    claims = ([command for command in commands if command.name == name] for name in names)
    return found + [ambiguous(several) for several in claims if len(several) > 1]


def ambiguous(several: Sequence[Command]) -> str:
    """Return the message about a name claimed by several distributions."""
    claims = " and ".join(f"{command.distribution} {command.version}" for command in several)
    return f"command {several[0].name!r} is ambiguous: {claims} both have it; uninstall one or set {VARIABLE}"


def _command(point: EntryPoint) -> Command:
    name, version = identity(point.dist)
    reference, _, extras = point.value.partition("[")
    names = tuple(part.strip() for part in extras.rstrip("] ").split(",") if part)
    return Command(point.name, reference.strip(), name, version, names, incompatible(point.dist, __version__))


def _owners(point: EntryPoint, plugins: Sequence[EntryPoint]) -> set[str]:
    mine = [plugin for plugin in plugins if identity(plugin.dist) == identity(point.dist)]
    close = [plugin for plugin in mine if _package(plugin) == _package(point)]
    return {plugin.name for plugin in close or mine}


def _package(point: EntryPoint) -> str:
    return point.value.partition(":")[0].partition(".")[0].strip()


def _source(module: str) -> Path | None:
    """Return the file of a module, without importing its packages."""
    path: Any = None
    spec = None
    for depth in range(1, module.count(".") + 2):
        spec = PathFinder.find_spec(".".join(module.split(".")[:depth]), path)
        path = spec.submodule_search_locations if spec else None
        if spec is None:
            return None
    return Path(spec.origin) if spec and spec.origin else None
