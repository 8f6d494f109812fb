"""Optional sections of recipes: labels, additional views, passes before the main one, groups of samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from omnimask.component import Component
from omnimask.data.view_names import MAIN
from omnimask.messages.hints import listed, nearest
from omnimask.recipe import keys
from omnimask.recipe.config import GroupConfig, LabelConfig, PassConfig, PredictorConfig, ViewConfig
from omnimask.recipe.document import Document, KeyPath
from omnimask.recipe.options import INVALID, Resolver
from omnimask.recipe.problems import Problems
from omnimask.registry import Registry

_OF_MODALITIES = ("masker", "corruptor", "of")
"""Keys of views that the modalities set for the main view."""


class OptionalSections:
    """Resolver of the optional sections of one document.

    Args:
        document: with overrides applied.
        registry: source of components.
        resolver: of the document.
        problems: collects all problems.
    """

    def __init__(self, document: Document, registry: Registry, resolver: Resolver, problems: Problems) -> None:
        self.document, self.registry, self.resolver, self.problems = document, registry, resolver, problems
        self.data: Mapping[str, Any] = document.data

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
        of = self._of(values["of"], (*path, "of")) if "of" in raw else ()
        corruptor = self.resolver.component("corruptor", raw["corruptor"], (*path, "corruptor")) if raw.get("corruptor") else None
        joint, maskers = self._maskers(raw.get("masker"), (*path, "masker"))
        return None if INVALID in values.values() else ViewConfig(name, joint, maskers, corruptor, **{**values, "of": of})

    def _of(self, value: Any, path: KeyPath) -> tuple[str, ...]:
        """Return the modalities of a view, () for all."""
        if value is INVALID or value is None:
            return ()
        names = (value,) if isinstance(value, str) else tuple(value)
        if not names:
            self.problems.add(self.document, path, f"empty list; modalities: {listed(self._modalities())}")
        for name in names:
            self._one_of(name, self._modalities(), path, "modality")
        if len(set(names)) < len(names):
            self.problems.add(self.document, path, "duplicate modality")
        return tuple(names)

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

    def passes(self, views: Mapping[str, ViewConfig], predictors: Sequence[PredictorConfig]) -> tuple[PassConfig, ...]:
        """Return the passes before the main one, in order."""
        found: list[PassConfig] = []
        for index, raw in enumerate(self._section("passes", list)):
            part = self._pass(raw, ("passes", index), views, [predictor.label for predictor in predictors])
            if part is not None and part.name in [MAIN, *(other.name for other in found)]:
                self.problems.add(self.document, ("passes", index, "name"), f"{part.name!r} is already the name of a pass")
            found += [] if part is None else [part]
        return tuple(found)

    def _pass(self, raw: Any, path: KeyPath, views: Mapping[str, Any], labels: Sequence[str]) -> PassConfig | None:
        values = self._options(PassConfig, raw, path, "a pass", "{name: probe, view: ...}")
        if values is None:
            return None
        self._name(values["name"], path, "pass", ())
        self._one_of(values["view"], list(dict.fromkeys([MAIN, *views])), (*path, "view"), "view")
        for label in values["predictors"] or ():
            self._one_of(label, labels, (*path, "predictors"), "predictor")
        return PassConfig(values["name"], values["view"], tuple(values["predictors"] or labels))

    def query(self, name: str | None, path: KeyPath) -> None:
        """Report a predictor's ``query`` with an unknown view."""
        section = self.data.get("views")
        if name is not None:
            known = [view for view in section if view != MAIN] if isinstance(section, Mapping) else []
            self._one_of(name, known, path, "view")

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

    # ---- what they share

    def _section(self, key: str, kind: Callable[[], Any]) -> Any:
        value = self.data.get(key)
        empty = kind()
        if value is None:
            return empty
        if not isinstance(value, type(empty)):
            self.problems.add(self.document, (key,), "must be " + ("a list" if isinstance(empty, list) else "a mapping by name"))
            return empty
        return value

    def _modalities(self) -> list[str]:
        section = self.data.get("modalities")
        return list(section) if isinstance(section, Mapping) else []

    def _options(self, section: type, raw: Any, path: KeyPath, owner: str, form: str) -> dict[str, Any] | None:
        """Return the values that a section declares; its components are resolved elsewhere."""
        if not isinstance(raw, Mapping):
            self.problems.add(self.document, path, f"must be a mapping: {form}")
            return None
        apart = tuple(keys.kinds(section))
        given = {key: value for key, value in raw.items() if key not in apart}
        return self.resolver.options(keys.values(section), given, path, owner, apart)

    def _name(self, name: str, path: KeyPath, what: str, taken: Sequence[str]) -> None:
        if not name.isidentifier():
            self.problems.add(self.document, path, f"{name!r} is not a valid {what} name: use letters, digits and _")
        if name in taken:
            self.problems.add(self.document, path, f"{name!r} is already the name of a modality; rename the {what}")

    def _known(self, raw: Mapping[str, Any], known: Sequence[str], path: KeyPath, owner: str, what: str = "key") -> None:
        for key in raw:
            if key not in known:
                message = f"unknown {what}{nearest(key, known)}; {what}s of {owner}: {listed(known)}"
                self.problems.add(self.document, (*path, key), message.replace("modalitys", "modalities"))

    def _one_of(self, name: str, known: Sequence[str], path: KeyPath, what: str) -> None:
        if name not in known:
            many = f"{what}s".replace("modalitys", "modalities")
            there = f"{many}: {listed(known)}" if known else f"the recipe has no {many}"
            self.problems.add(self.document, path, f"unknown {what} {name!r}{nearest(name, known)}; {there}")
