"""Optional sections of recipes: labels, additional views, groups of samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omnimask.component import Component
from omnimask.data.view_names import MAIN
from omnimask.recipe import keys
from omnimask.recipe.config import GroupConfig, LabelConfig, ViewConfig
from omnimask.recipe.document import KeyPath
from omnimask.recipe.options import INVALID
from omnimask.recipe.section_resolver import SectionResolver


class OptionalSections(SectionResolver):
    """Resolver of the optional sections of one document."""

    def labels(self) -> dict[str, LabelConfig]:
        """Return the labels by name."""
        found = {name: self._label(name, raw, ("labels", name)) for name, raw in self._section("labels", dict).items()}
        return {name: label for name, label in found.items() if label is not None}

    def _label(self, name: str, raw: Any, path: KeyPath) -> LabelConfig | None:
        self._name(name, path, "label", self._modalities())
        values = self._options(LabelConfig, {} if raw is None else raw, path, "a label", "{classes: ...}, or {} for a number")
        if values is None:
            return None
        names, classes = values["names"] or (), values["classes"]
        if names and classes is not None and classes != len(names):
            self.problems.add(self.document, (*path, "classes"), f"is {classes}, but names has {len(names)} entries")
        if len(set(names)) < len(names):
            self.problems.add(self.document, (*path, "names"), "duplicate name")
        return LabelConfig(name, values["field"] or name, len(names) or classes, tuple(names))

    def views(self) -> dict[str, ViewConfig]:
        """Return the additional views by name."""
        found = {name: self._view(name, raw, ("views", name)) for name, raw in self._section("views", dict).items()}
        return {name: view for name, view in found.items() if view is not None}

    def _view(self, name: str, raw: Any, path: KeyPath) -> ViewConfig | None:
        self._name(name, path, "view", ())
        if name == MAIN:
            self.problems.add(self.document, path, "the view main is set under modalities; change masker and corruptor there")
        if not isinstance(raw, Mapping) or not raw:
            self.problems.add(self.document, path, "must differ from the main view: {masker: ..., corruptor: ...}")
            return None
        self._known(raw, keys.names(ViewConfig), path, "views")
        draw = self.resolver.option(keys.values(ViewConfig)["draw"], raw, path, "views")
        corruptor = self.resolver.component("corruptor", raw["corruptor"], (*path, "corruptor")) if raw.get("corruptor") else None
        joint, maskers = self._maskers(raw.get("masker"), (*path, "masker"))
        return None if draw is INVALID else ViewConfig(name, joint, maskers, corruptor, draw)

    def _maskers(self, raw: Any, path: KeyPath) -> tuple[Component[Any] | None, dict[str, Component[Any]]]:
        """Return a joint masker, or one masker per modality: the same for all, or a mapping by name."""
        known = self._modalities()
        if raw is None:
            return None, {}
        if isinstance(raw, Mapping) and "name" not in raw:
            self._known(raw, known, path, "modalities", "modality")
            found = {name: self.resolver.component("masker", raw[name], (*path, name)) for name in raw if name in known}
            for name in (name for name in known if name not in raw):
                self.problems.missing(self.document, (*path, name), f"a masker of {name}; {{name: none}} masks nothing")
        elif isinstance(raw, Mapping) and raw["name"] in self.registry.names("joint_masker"):
            return self.resolver.component("joint_masker", raw, path), {}
        else:
            masker = self.resolver.component("masker", raw, path)
            found = dict.fromkeys(known, masker)
        return None, {name: masker for name, masker in found.items() if masker is not None}

    def group(self, raw: Any, path: KeyPath) -> GroupConfig | None:
        """Return the groups of the order, or None if a problem was reported."""
        if raw is None:
            return GroupConfig()
        values = self._options(GroupConfig, raw, path, "a group", "{size: 2, transform: {name: ...}}")
        written = raw.get("transform") if isinstance(raw, Mapping) else None
        transform = None if written is None else self.resolver.component("transform", written, (*path, "transform"))
        return None if values is None or (written is not None and transform is None) else GroupConfig(values["size"], transform)
