"""References to code by name, and what to show of an error that loading one gives. Imports no torch."""

from __future__ import annotations

import functools
import importlib
import traceback
from typing import Any


def resolve(reference: str) -> Any:
    """What ``package.module:attribute.path`` names; the module is imported."""
    module, _, path = reference.partition(":")
    return functools.reduce(getattr, path.split("."), importlib.import_module(module))


def trace(error: BaseException) -> str:
    """The whole traceback."""
    return "".join(traceback.format_exception(error))


def indented(text: str) -> str:
    """Every line four columns further right."""
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines())


def shorten(error: BaseException) -> tuple[str, str]:
    """One line about an error, and its whole traceback."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}", trace(error)
