"""Plugins: installed distributions, registered components, and failures. Imports no torch.

Names are imported on first use, so that ``omnimask --help`` stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omnimask.registry.discovery import discover as discover
    from omnimask.registry.distributions import Failure as Failure
    from omnimask.registry.distributions import Plugin as Plugin
    from omnimask.registry.registry import KINDS as KINDS
    from omnimask.registry.registry import SUFFIXES as SUFFIXES
    from omnimask.registry.registry import Entry as Entry
    from omnimask.registry.registry import RecipeFolder as RecipeFolder
    from omnimask.registry.registry import Registrar as Registrar
    from omnimask.registry.registry import Registry as Registry

__all__ = ["KINDS", "SUFFIXES", "Entry", "Failure", "Plugin", "RecipeFolder", "Registrar", "Registry", "discover"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "omnimask.registry.discovery" if name == "discover" else "omnimask.registry.registry"
    return getattr(importlib.import_module(module), name)
