"""Commands of plugins, from the entry-point group ``omnimask.commands``: listed from metadata, imported when called.

An entry point is ``name = "package.module:function"``. The function's parameters are the command's: plain types, or ``Annotated``
with ``typer.Argument`` and ``typer.Option``. Its docstring is the help text.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omnimask.errors import UserError
from omnimask.registry.distributions import (
    COMMANDS,
    PLUGINS,
    VARIABLE,
    Plugin,
    allowed_names,
    identity,
    incompatible,
    package,
    scan,
)
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
        """Return the first paragraph of the function's docstring without importing it; an empty string if it is not found."""
        module, _, function = self.reference.partition(":")
        top, *rest = module.split(".")
        with contextlib.suppress(OSError, SyntaxError, ValueError, AttributeError, ImportError):
            spec: Any = find_spec(top)  # a top-level name is found without an import
            file = Path(spec.submodule_search_locations[0], *rest) if rest else Path(spec.origin)
            source = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
            for node in ast.parse(source.read_bytes()).body:
                if isinstance(node, ast.FunctionDef) and node.name == function:
                    return " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())
        return ""

    def load(self) -> Callable[..., Any]:
        """Return the function.

        Raises:
            UserError: it cannot be imported, or is not a function. The message contains the cause.
        """
        if self.refusal is not None:
            raise UserError(f"{self}: {self.refusal}")
        function = load(self.reference, str(self), self.distribution, self.extras)
        if not callable(function):
            raise UserError(f"{self}: {self.reference} is not a function but {function!r}")
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
        allowed: names of plugins separated by commas, whose commands (:func:`owners`) are returned; None or empty allows all.
    """
    wanted, known = allowed_names(allowed), [Plugin.of(point) for point in plugins]
    found = sorted(map(_command, points), key=lambda command: (command.name, command.distribution))
    return tuple(each for each in found if not wanted or wanted & owners(each.reference, each.distribution, known))


def clashes(commands: Sequence[Command], builtin: Collection[str], own: str) -> list[str]:
    """Return messages about commands with conflicting names. ``own`` is the distribution of the ``builtin`` ones."""
    found = [
        f"{command} cannot be used: omnimask ({own}) has a command of this name; the plugin must rename it"
        for command in commands
        if command.name in builtin
    ]
    names = sorted({command.name for command in commands} - set(builtin))
    claims = ([command for command in commands if command.name == name] for name in names)
    return found + [ambiguous(several) for several in claims if len(several) > 1]


def ambiguous(several: Sequence[Command]) -> str:
    """Return the message about a name claimed by several distributions."""
    claims = " and ".join(f"{command.distribution} {command.version}" for command in several)
    return f"command {several[0].name!r} is ambiguous: {claims} both define it; uninstall one or set {VARIABLE}"


def _command(point: EntryPoint) -> Command:
    reference, _, extras = point.value.partition("[")
    names = tuple(part.strip() for part in extras.rstrip("] ").split(",") if part)
    return Command(point.name, reference.strip(), *identity(point.dist), names, incompatible(point.dist, __version__))


def owners(reference: str, distribution: str, plugins: Iterable[Plugin]) -> set[str]:
    """Return the names of the plugins that a command belongs to: those of its distribution and package, or of its distribution."""
    mine = [plugin for plugin in plugins if plugin.distribution == distribution]
    close = [plugin for plugin in mine if package(plugin.module) == package(reference)]
    return {plugin.name for plugin in close or mine}
