"""Registry in use: installed plugins, and the plugin files of the current recipe. Imports no torch."""

from __future__ import annotations

from omnimask.registry.installed import find
from omnimask.registry.plugin_files import over
from omnimask.registry.registry import Registry


def discover(refresh: bool = False) -> Registry:
    """Return the registry of installed plugins and of the plugin files in use.

    It is created once per process; ``refresh`` searches the installed distributions again.
    """
    if refresh:
        find.cache_clear()
    return over(find())
