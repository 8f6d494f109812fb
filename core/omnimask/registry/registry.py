"""Registry of installed components and recipes, their plugins, and failed plugins. Imports no torch."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partialmethod
from pathlib import Path
from typing import Any

from omnimask.errors import UserError
from omnimask.messages.hints import listed, nearest
from omnimask.messages.stdout import printing_to_stderr
from omnimask.registry.distributions import Failure, Plugin
from omnimask.registry.references import indented, load, resolve
from omnimask.registry.signature import options_of

logger = logging.getLogger(__name__)

SUFFIXES = (".yaml", ".yml")
"""Endings of recipe files."""
_NAME = re.compile(r"\w[\w-]*(\.\w[\w-]*)*")


@dataclass(frozen=True)
class Entry:
    """Registered component: ``reference`` is ``module:Class``, imported on first use, or the class itself.

    ``extra`` names the optional dependencies of the distribution needed by the component. ``reads_named_fields``: see
    :meth:`Registrar.reads_named_fields`.
    """

    kind: str
    name: str
    reference: str | type
    plugin: Plugin
    extra: str | None = None
    reads_named_fields: bool = False

    @property
    def distribution(self) -> str:
        return self.plugin.distribution

    @property
    def version(self) -> str:
        return self.plugin.version


@dataclass(frozen=True)
class RecipeFolder:
    """Recipes of one modality. ``reference`` is a folder, or ``module:attribute`` for a folder or a callable that returns one."""

    modality: str
    reference: str | Path
    plugin: Plugin

    def path(self) -> Path:
        """Return the folder. Import the plugin's module if the reference names one."""
        if isinstance(self.reference, Path):
            return self.reference
        with printing_to_stderr():
            value: Any = resolve(self.reference)
            return Path(str(value() if callable(value) else value))

    def files(self) -> dict[str, Path]:
        """Return the recipes' files by ``modality/recipe``, sorted.

        Raises:
            UserError: the folder is missing, or the plugin's code fails.
        """
        try:
            return {f"{self.modality}/{path.stem}": path for path in sorted(self.path().iterdir()) if path.suffix in SUFFIXES}
        except Exception as error:
            cause = f"{type(error).__name__}: {error}"
            raise UserError(f"recipes of {self.plugin} cannot be found at {self.reference}: {cause}") from error


class Registrar:
    """Argument of a plugin's ``omnimask_register`` hook. Its registrations count only if the whole hook succeeds.

    Args:
        plugin: plugin that registers.
        reserved: kinds and names of omnimask's own components.
    """

    def __init__(self, plugin: Plugin, reserved: Collection[tuple[str, str]] = ()) -> None:
        self.plugin = plugin
        self.reserved = reserved
        self.module: Any = None
        self.hooks: tuple[str, ...] = ()
        self.entries: list[Entry] = []
        self._reads_named_fields = False
        self.folders: list[RecipeFolder] = []

    def add(self, kind: str, name: str, reference: str | type, *, extra: str | None = None) -> None:
        """Register a component under a name, by a lazy reference ``module:Class``.

        Args:
            kind: one of :data:`KINDS`; filled in by ``registry.add_masker(...)`` and similar methods.
            name: name in recipes; a plugin's own prefix (``timeseries.window``) avoids clashes.
            reference: ``module:Class``, imported on first use.
            extra: optional dependencies of the distribution needed by the module; named in the error when missing.

        Raises:
            ValueError: the kind is unknown, the name or the reference is malformed, or the name belongs to omnimask or was already
                registered by this plugin.
        """
        if kind not in KINDS:
            raise ValueError(f"unknown kind of component {kind!r}{nearest(kind, KINDS)}; kinds: {', '.join(KINDS)}")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"{kind} {name!r}: a name consists of letters, digits, _ and -, separated by dots (waves.window)")
        if (kind, name) in self.reserved:
            own = self.plugin.name if _NAME.fullmatch(self.plugin.name) else "yours"
            raise ValueError(f"{kind} {name!r} is a component of omnimask; choose another name, like '{own}.{name}'")
        if isinstance(reference, str) and not all(part.strip() for part in reference.partition(":")):
            raise ValueError(f"{kind} {name!r}: the reference {reference!r} must have the form 'package.module:Class'")
        if any(entry.kind == kind and entry.name == name for entry in self.entries):
            raise ValueError(f"{kind} {name!r} is registered twice by {self.plugin}")
        self.entries.append(Entry(kind, name, reference, self.plugin, extra, self._reads_named_fields))

    add_tokenizer = partialmethod(add, "tokenizer")
    add_decoder = partialmethod(add, "decoder")
    add_augment = partialmethod(add, "augment")
    add_transform = partialmethod(add, "transform")
    add_masker = partialmethod(add, "masker")
    add_joint_masker = partialmethod(add, "joint_masker")
    add_corruptor = partialmethod(add, "corruptor")
    add_embedding = partialmethod(add, "embedding")
    add_position = partialmethod(add, "position")
    add_encoder = partialmethod(add, "encoder")
    add_replacer = partialmethod(add, "replacer")
    add_predictor = partialmethod(add, "predictor")
    add_target = partialmethod(add, "target")
    add_initializer = partialmethod(add, "initializer")
    add_exporter = partialmethod(add, "exporter")
    add_dataset = partialmethod(add, "dataset")
    add_optimizer = partialmethod(add, "optimizer")
    add_schedule = partialmethod(add, "schedule")
    add_renderer = partialmethod(add, "renderer")
    add_suggester = partialmethod(add, "suggester")

    def reads_named_fields(self) -> None:
        """Promise that the components registered from now on read no fields of tokens but ``special`` and those that their options
        name.

        An option names a field by its value (``field: word``, which also names ``word.class``). If all components of a recipe
        promise it, tokenizers leave out fields that nobody reads.
        """
        self._reads_named_fields = True

    def add_recipes(self, modality: str, folder: str | Path) -> None:
        """Register a folder of ``*.yaml`` recipes: a path, or ``module:attribute`` of a path or of a callable returning one."""
        self.folders.append(RecipeFolder(modality, folder, self.plugin))

    def __getattr__(self, name: str) -> Any:
        methods = [method for method in dir(type(self)) if method.startswith("add")]
        raise AttributeError(f"the registry has no attribute {name!r}{nearest(name, methods)}; methods: {', '.join(methods)}")


KINDS = tuple(name.removeprefix("add_") for name, method in vars(Registrar).items() if isinstance(method, partialmethod))
"""Kinds of components, in the order of listings."""


class Registry:
    """Installed components by kind and name, recipe folders, and failed plugins.

    Args:
        registrars: registrations of the plugins. Their order affects listings only.
        failures: plugins that failed.
        left_out: names of installed plugins excluded by ``OMNIMASK_PLUGINS``.

    Attributes:
        implementations: module and implemented hooks of every plugin.
    """

    def __init__(
        self, registrars: Sequence[Registrar] = (), failures: Sequence[Failure] = (), left_out: Sequence[str] = ()
    ) -> None:
        self._registrars = tuple(registrars)
        self.plugins = tuple(registrar.plugin for registrar in registrars)
        self.implementations = tuple((each.plugin, each.module, each.hooks) for each in registrars)
        self.failures = tuple(failures)
        self.left_out = tuple(left_out)
        self.folders = tuple(folder for registrar in registrars for folder in registrar.folders)
        self._entries: dict[tuple[str, str], list[Entry]] = {}
        self._loaded: dict[tuple[str, str], type] = {}
        for entry in (entry for registrar in registrars for entry in registrar.entries):
            self._entries.setdefault((entry.kind, entry.name), []).append(entry)

    def including(self, registrars: Sequence[Registrar]) -> Registry:
        """Return a registry with the contents of this one and further registrations."""
        return Registry((*self._registrars, *registrars), self.failures, self.left_out)

    def implementing(self, *hooks: str) -> list[tuple[Plugin, Any]]:
        """Return plugins that implement any of these hooks, with modules: the core first, then by distribution and name."""
        found = [(plugin, module) for plugin, module, names in self.implementations if set(names) & set(hooks)]
        return sorted(found, key=lambda each: each[0].name != "core")

    def entries(self, kind: str | None = None) -> list[Entry]:
        """Return everything registered (of one kind), by kind and name. An ambiguous name appears once for each plugin."""
        found = [entry for entries in self._entries.values() for entry in entries if kind in (None, entry.kind)]
        return sorted(found, key=lambda entry: (KINDS.index(entry.kind), entry.name))

    def conflicts(self) -> list[tuple[Entry, ...]]:
        """Return names registered by several plugins. None of them can be used."""
        return [tuple(entries) for entries in self._entries.values() if len(entries) > 1]

    def names(self, kind: str) -> list[str]:
        """Return the registered names of a kind, sorted."""
        return sorted(name for entry_kind, name in self._entries if entry_kind == kind)

    def entry(self, kind: str, name: str) -> Entry:
        """Return the only registration of a name.

        Raises:
            UserError: the name is unknown, or several plugins claim it.
        """
        entries = self._entries.get((kind, name), [])
        if not entries:
            raise UserError(self._unknown(kind, name))
        if len(entries) > 1:
            claims = " and ".join(str(entry.plugin) for entry in entries)
            raise UserError(f"{kind} {name!r} is ambiguous: {claims} both register it; uninstall one or set OMNIMASK_PLUGINS")
        return entries[0]

    def load(self, kind: str, name: str) -> type[Any]:
        """Return the class of a component, imported on first use and checked against the constructor rule.

        Raises:
            UserError: unknown or ambiguous name, missing optional dependency, failing import, or a constructor against the rule.
        """
        key = (kind, name)
        if key not in self._loaded:
            self._loaded[key] = _load(self.entry(kind, name))
        return self._loaded[key]

    def _unknown(self, kind: str, name: str) -> str:
        others = [other for other, known in self._entries if known == name]
        message = f"unknown {kind.replace('_', ' ')} {name!r}{nearest(name, self.names(kind))}"
        message += f"; {' and '.join(f'a {other}' for other in others)} has this name" if others else ""
        message += f"; installed: {listed(self.names(kind))}"
        if self.left_out:
            message += f"; disabled by OMNIMASK_PLUGINS: {listed(self.left_out)}"
        for failure in self.failures:
            message += f"\n  {failure}"
            if name in failure.names or name.partition(".")[0] == failure.plugin.name:
                message += "\n" + indented(failure.traceback)
        return message


def _load(entry: Entry) -> type[Any]:
    about = f"{entry.kind} {entry.name!r} of {entry.distribution} {entry.version}"
    cls: Any = entry.reference
    if isinstance(cls, str):
        with printing_to_stderr():
            cls = load(cls, about, entry.distribution, (entry.extra,) if entry.extra else ())
    if not isinstance(cls, type):
        raise UserError(f"{about}: {entry.reference} is not a class but {cls!r}")
    try:
        options_of(cls, entry.kind)
    except ValueError as error:
        raise UserError(f"{about}: {cls.__module__}.{cls.__qualname__}: {error}") from error
    return cls
