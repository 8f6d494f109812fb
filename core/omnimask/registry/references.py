"""References to code by name, and the presentation of errors from loading them. Imports no torch."""

from __future__ import annotations

import functools
import importlib
import traceback
from collections.abc import Sequence
from typing import Any

from omnimask.errors import UserError


def resolve(reference: str) -> Any:
    """Return the object named by ``package.module:attribute.path``. This imports the module."""
    module, _, path = reference.partition(":")
    return functools.reduce(getattr, path.split("."), importlib.import_module(module))


def load(reference: str, about: str, distribution: str, extras: Sequence[str] = ()) -> Any:
    """Import the object of a reference, for a component or a command of a plugin.

    Args:
        reference: ``package.module:attribute``.
        about: description of the component or command in messages.
        distribution: distribution of the component or command.
        extras: optional dependencies of the distribution to install.

    Raises:
        UserError: a dependency is missing, or the import fails. The message has the remedy or the traceback.
    """
    try:
        return resolve(reference)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and extras and not reference.startswith(missing):
            remedy = f"pip install '{distribution}[{','.join(extras)}]'"
            raise UserError(f"{about} needs {missing}, which is not installed: {remedy}") from error
        cause = f"{about} cannot be imported from {reference}: {type(error).__name__}: {error}"
        raise UserError(f"{cause}\n{indented(trace(error))}") from error


def trace(error: BaseException) -> str:
    """Return the whole traceback."""
    return "".join(traceback.format_exception(error))


def indented(text: str) -> str:
    """Indent every line by four columns."""
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines())


def shorten(error: BaseException) -> tuple[str, str]:
    """Return one line about an error, and its whole traceback."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}", trace(error)
