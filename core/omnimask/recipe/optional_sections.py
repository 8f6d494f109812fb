"""Optional sections of recipes: labels, additional views, groups of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omnimask.component import Component
from omnimask.data.view_names import MAIN
from omnimask.messages.hints import listed
from omnimask.recipe import keys
from omnimask.recipe.config import GroupConfig, LabelConfig, PredictorConfig, ViewConfig
from omnimask.recipe.document import KeyPath
from omnimask.recipe.options import INVALID
from omnimask.recipe.section_resolver import SectionResolver

_OF_MODALITIES = ("masker", "corruptor", "of")
"""Keys of views that the modalities set for the main view."""


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
        """Return the additional views by name, and the main one if it has keys of its own."""
        found = {name: self._view(name, raw, ("views", name)) for name, raw in self._section("views", dict).items()}
        return {name: view for name, view in found.items() if view is not None}

    def _view(self, name: str, raw: Any, path: KeyPath) -> ViewConfig | None:
        self._name(name, path, "view", ())
        known = [key for key in keys.names(ViewConfig) if name != MAIN or key not in _OF_MODALITIES]
        if not isinstance(raw, Mapping) or not raw:
            form = (
                f"set some of {listed(known)}: {{repeat: 4}}" if name == MAIN else "differ from the main view: {masker: ..., ...}"
            )
            self.problems.add(self.document, path, f"must {form}")
            return None
        for key in _OF_MODALITIES if name == MAIN else ():
            if key in raw:
                remedy = "the main view has all modalities" if key == "of" else f"change the {key} there"
                self.problems.add(self.document, (*path, key), f"the view main is set under modalities; {remedy}")
        self._known({key: raw[key] for key in raw if key not in _OF_MODALITIES}, known, path, "views")
        options = keys.values(ViewConfig)
        values = {key: self.resolver.option(options[key], raw, path, "views") for key in options}
        of = () if values["of"] is None else self._of(values["of"], path) or ()
        corruptor = self.resolver.component("corruptor", raw["corruptor"], (*path, "corruptor")) if raw.get("corruptor") else None
        joint, maskers = self._maskers(raw.get("masker"), (*path, "masker"))
        return None if INVALID in values.values() else ViewConfig(name, joint, maskers, corruptor, **{**values, "of": of})

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

    def check_decoded(self, views: Mapping[str, ViewConfig], predictors: Sequence[PredictorConfig]) -> None:
        """Report decoded views that repeat otherwise than the main view, if that has several maskings of a sample."""
        main = (views[MAIN].repeat if MAIN in views else None) or 1
        for name in dict.fromkeys(predictor.query for predictor in predictors):
            own = views[name].repeat if name is not None and name in views else None
            if own is not None and main not in (1, own):
                message = f"is {own}, but predictors decode this view from the main one, whose repeat is {main}; omit it"
                self.problems.add(self.document, ("views", str(name), "repeat"), message)

    def group(self, raw: Any, path: KeyPath) -> GroupConfig | None:
        """Return the groups of the order, or None if a problem was reported."""
        if raw is None:
            return GroupConfig()
        values = self._options(GroupConfig, raw, path, "a group", "{size: 2, transform: {name: ...}}")
        written = raw.get("transform") if isinstance(raw, Mapping) else None
        transform = None if written is None else self.resolver.component("transform", written, (*path, "transform"))
        return None if values is None or (written is not None and transform is None) else GroupConfig(values["size"], transform)
