"""Contract of installed plugins."""

from __future__ import annotations

import inspect
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from typing import ClassVar

import torch

from omnimask.builder.build import build
from omnimask.data.planner import Cursor
from omnimask.recipe import Recipe, load_recipe, shipped_recipes
from omnimask.registry import Entry, Registry
from omnimask.registry.commands import find
from omnimask.registry.distributions import scan
from omnimask.registry.installed import GROUP, collect
from omnimask.registry.inventory import rows
from omnimask.registry.signature import options_of
from omnimask.testing.requirements import require


class PluginContract(ABC):
    """Contract of a plugin. Subclasses implement :meth:`plugin`: the name of the entry point in the group ``omnimask``.

    Attributes:
        is_light: importing the plugin's module doesn't import a heavy package.
    """

    is_light: ClassVar[bool] = True

    @abstractmethod
    def plugin(self) -> str:
        """Return the name of the entry point, as listed by ``omnimask plugins``."""

    def registry(self) -> Registry:
        """Return the registry of installed plugins; :func:`with_module` adds an uninstalled module."""
        return collect(scan(GROUP)[0])

    def overrides(self, recipe: str) -> Sequence[str]:
        """Return ``key=value`` for missing values of a shipped recipe (``data.path=...``), when it is loaded unchanged."""
        return ("data.path=.",)

    def entries(self) -> list[Entry]:
        """Return the plugin's components."""
        return [entry for entry in self.registry().entries() if entry.plugin.name == self.plugin()]

    def recipes(self) -> list[str]:
        """Return the names of the plugin's shipped recipes."""
        registry = self.registry()
        mine = {folder.modality for folder in registry.folders if folder.plugin.name == self.plugin()}
        return [name for name in shipped_recipes(registry) if name.partition("/")[0] in mine]

    def test_registers_without_failure(self) -> None:
        registry = self.registry()
        for failure in registry.failures:
            require(failure.plugin.name != self.plugin(), f"{failure}\n{failure.traceback}")
        known = [plugin.name for plugin in registry.plugins]
        require(
            self.plugin() in known,
            f"entry point {self.plugin()!r} of group {GROUP!r} does not exist; found {known}. Declare it in pyproject.toml under "
            f"[project.entry-points.{GROUP}] and install the package (pip install -e .)",
        )

    def test_no_name_clashes(self) -> None:
        for claims in self.registry().conflicts():
            names = {entry.plugin.name for entry in claims}
            require(
                self.plugin() not in names,
                f"{claims[0].kind} {claims[0].name!r} is registered by {', '.join(sorted(names))}; put your own prefix before it",
            )

    def test_registering_imports_nothing_heavy(self) -> None:
        """Check that importing the plugin's module, as in `omnimask --help` and `omnimask plugins`, imports no heavy package."""
        if not self.is_light:
            return
        modules = {plugin.module.partition(":")[0] for plugin in self.registry().plugins if plugin.name == self.plugin()}
        for module in modules:
            heavy = _imported_with(module)
            require(
                not heavy,
                f"importing {module} imports {', '.join(heavy)}; register references ('package.module:Class') and "
                "move heavy imports to those modules",
            )

    def test_commands_load(self) -> None:
        """Load the commands of the plugin's package in the group ``omnimask.commands``."""
        own = next((row for row in rows(self.registry(), find()) if row.plugin == self.plugin()), None)
        for command in find():
            if own is not None and command.distribution == own.distribution and command.name in own.commands:
                command.load()

    def test_components_load(self) -> None:
        """Check that every reference can be imported, and every constructor follows the rule."""
        registry = self.registry()
        for entry in self.entries():
            registry.load(entry.kind, entry.name)

    def test_components_and_options_are_documented(self) -> None:
        registry = self.registry()
        for entry in self.entries():
            cls = registry.load(entry.kind, entry.name)
            about = f"{entry.kind} {entry.name}"
            require(bool((inspect.getdoc(cls) or "").strip()), f"{about}: the class has no docstring; describe it in one sentence")
            for option in options_of(cls).values():
                require(
                    bool(option.description.strip()),
                    f"{about}: option {option.name} is not described; add it to the docstring's Args: or to Field(description=...)",
                )

    def test_smoke_options_exist(self) -> None:
        registry = self.registry()
        for entry in self.entries():
            cls = registry.load(entry.kind, entry.name)
            smoke = getattr(cls, "smoke", {})
            unknown = set() if callable(smoke) else set(smoke) - set(options_of(cls))
            require(not unknown, f"{entry.kind} {entry.name}: smoke contains {sorted(unknown)}, which are not options")

    def test_recipes_validate(self) -> None:
        """Check that every shipped recipe loads unchanged, apart from missing values."""
        registry = self.registry()
        for name in self.recipes():
            recipe = load_recipe(name, registry=registry) if _is_complete(name, registry) else self._completed(name, registry)
            require(bool(recipe.to_yaml()), f"recipe {name} is empty")

    def _completed(self, name: str, registry: Registry) -> Recipe:
        return load_recipe(name, self.overrides(name), registry=registry)

    def test_recipes_smoke(self) -> None:
        """Check that every shipped recipe, shrunk onto embedded data, trains a few steps with finite losses."""
        registry = self.registry()
        for name in self.recipes():
            train_briefly(load_recipe(name, smoke=True, registry=registry), name)


_HEAVY = ("torch", "tensorflow", "jax", "transformers", "sklearn", "scipy", "pandas", "matplotlib")


def _imported_with(module: str) -> list[str]:
    """Return the heavy packages imported together with a module, tested in a separate process."""
    code = f"import sys; sys.path[:] = {sys.path!r}; import {module}; print(*sys.modules.keys() & {set(_HEAVY)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    require(done.returncode == 0, f"importing {module} by itself fails:\n{done.stderr}")
    return sorted(done.stdout.split())


def _is_complete(name: str, registry: Registry) -> bool:
    try:
        load_recipe(name, registry=registry)
    except ValueError:
        return False
    return True


def train_briefly(recipe: Recipe, name: str, steps: int = 2) -> None:
    """Load a recipe and train its first steps, without files."""
    built = build(recipe)
    optimizer = torch.optim.AdamW(built.model.parameters(), lr=1e-3)
    loader = built.loader(Cursor(), 0)
    for loaded in loader:
        require(bool(loaded.batches), f"recipe {name}: step {loaded.step} has no readable sample: {loaded.bad[:3]}")
        optimizer.zero_grad()
        for batch in loaded.batches:
            loss = built.model(batch).loss
            require(bool(torch.isfinite(loss)), f"recipe {name}: the loss of step {loaded.step} is {loss.item()}")
            loss.backward()
        optimizer.step()
        if loaded.step + 1 >= steps:
            break


def with_module(name: str, module: str) -> Registry:
    """Return the installed plugins plus an importable module as if it had an entry point; for tests without an installation."""
    return collect([*scan(GROUP)[0], EntryPoint(name=name, value=module, group=GROUP)])
