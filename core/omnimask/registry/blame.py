"""Origin of an unexpected error: the plugin whose file is the deepest in the traceback. Imports no torch."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

from omnimask.registry.distributions import Plugin
from omnimask.registry.installed import CORE
from omnimask.registry.registry import Registry


def blamed(error: BaseException, registry: Registry) -> str | None:
    """Return ``plugin 'waves' of waves 1.0 (/site-packages/waves/masker.py:12)``; None without a plugin's file in the traceback."""
    folders = {folder: plugin for plugin in registry.plugins if plugin.name != CORE for folder in _folders(plugin, registry)}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        for folder, plugin in folders.items():
            if file == folder or folder in file.parents:
                return f"{plugin} ({file}:{frame.lineno})"
    return None


def _folders(plugin: Plugin, registry: Registry) -> set[Path]:
    """Return the package folders and module files of a plugin's entry point and components."""
    modules = {plugin.module.partition(":")[0]}
    for entry in registry.entries():
        if entry.plugin == plugin:
            reference = entry.reference
            modules.add(reference.partition(":")[0] if isinstance(reference, str) else reference.__module__)
    found: set[Path] = set()
    for name in {module.partition(".")[0] for module in modules}:
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        paths = list(getattr(module, "__path__", ()))
        found |= {Path(path) for path in paths} if paths else {Path(file)} if file else set()
    return found
