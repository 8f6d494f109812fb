"""Plugins in single Python files of a recipe, for experiments. They register like installed ones, in this process only.

Imports no torch.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import TracebackType
from typing import Any

from omnimask.errors import UserError
from omnimask.registry.distributions import OWN, Plugin
from omnimask.registry.installed import register
from omnimask.registry.references import indented, shorten
from omnimask.registry.registry import Registrar, Registry

MODULE = "omnimask_file_"
"""Prefix of a file's module name: ``my.py`` is ``omnimask_file_my``."""


@dataclass(frozen=True)
class _Loaded:
    digest: str
    registrar: Registrar


class _InUse:
    """Files of the recipe that this process loaded or built last."""

    def __init__(self) -> None:
        self.paths: tuple[Path, ...] = ()
        self.loaded: dict[Path, _Loaded] = {}
        self.extended: tuple[Registry, Registry] | None = None

    def over(self, installed: Registry) -> Registry:
        if not self.paths:
            return installed
        if self.extended is None or self.extended[0] is not installed:
            self.extended = (installed, installed.including([self.loaded[path].registrar for path in self.paths]))
        return self.extended[1]


_in_use = _InUse()


def over(installed: Registry) -> Registry:
    """Return the installed registry, extended by the files in use."""
    return _in_use.over(installed)


def are_used(paths: Sequence[Path]) -> bool:
    """Return whether all of these files are in use."""
    return set(paths) <= set(_in_use.paths)


def use(paths: Sequence[Path], *, refresh: bool = False) -> None:
    """Use these files, and no others, in addition to the installed plugins.

    Args:
        paths: absolute paths.
        refresh: whether to read files in use again, and reload changed ones.

    Raises:
        UserError: a file is missing, fails when it runs, registers nothing, or has the name of another one.
    """
    paths = tuple(paths)
    if paths == _in_use.paths and not refresh:
        return
    names = [path.name for path in paths]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"two files are named {twice}; rename one")
    loaded = {path: _loaded(path) for path in paths}
    if paths != _in_use.paths or any(_in_use.loaded[path] is not loaded[path] for path in paths):
        _in_use.paths, _in_use.extended = paths, None
    _in_use.loaded.update(loaded)
    for each in loaded.values():  # a file of this name in another folder may have taken the module's place
        sys.modules[each.registrar.plugin.module] = each.registrar.module


def _loaded(path: Path) -> _Loaded:
    if path.suffix != ".py":
        raise UserError(
            f"{path} is not a Python file (NAME.py); for a plugin of several files, create a package: omnimask new-plugin"
        )
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UserError(f"the plugin file {path} cannot be read: {error.strerror or error}") from error
    digest = blake2b(source, digest_size=4).hexdigest()
    known = _in_use.loaded.get(path)
    if known is not None and known.digest == digest:
        return known
    name = re.sub(r"\W", "_", path.stem)
    plugin = Plugin(name, path.name, digest, f"{MODULE}{name}", file=path)
    registrar = Registrar(plugin, _own_names())
    try:
        register(lambda: _module(path, plugin.module), registrar)
    except Exception as error:
        cause, traceback = shorten(error.with_traceback(_from_file(error.__traceback__, path)))
        raise UserError(f"the plugin file {path} cannot be loaded: {cause}\n{indented(traceback)}") from error
    return _Loaded(digest, registrar)


def _from_file(traceback: TracebackType | None, path: Path) -> TracebackType | None:
    """Return a traceback from a file on."""
    while traceback is not None and traceback.tb_frame.f_code.co_filename != str(path):
        traceback = traceback.tb_next
    return traceback


def _module(path: Path, name: str) -> Any:
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python module")
    module = module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module  # classes of it are found by name, as those of any module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name)
        if before is not None:
            sys.modules[name] = before
        raise
    return module


def _own_names() -> set[tuple[str, str]]:
    from omnimask.registry.installed import find

    return {(entry.kind, entry.name) for entry in find().entries() if entry.plugin.distribution == OWN}
