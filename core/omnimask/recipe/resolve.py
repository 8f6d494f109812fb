"""Resolution of a recipe's document into a validated :class:`Recipe`: keys, components, and constraints between them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from omnimask.component import Component
from omnimask.data.config import DataOptions
from omnimask.data.fields import FieldNames
from omnimask.messages.hints import listed, nearest
from omnimask.recipe import keys
from omnimask.recipe.config import DataConfig, ModalityConfig, Recipe
from omnimask.recipe.data_by_path import data_by_path
from omnimask.recipe.document import Document, KeyPath
from omnimask.recipe.network_sections import NetworkSections
from omnimask.recipe.optional_sections import OptionalSections
from omnimask.recipe.options import Resolver, options_of_model
from omnimask.recipe.problems import Problems
from omnimask.recipe.smoke_data import SmokeData
from omnimask.recipe.yaml_text import UNSET
from omnimask.registry import Registry
from omnimask.registry.signature import REQUIRED
from omnimask.training.config import TrainConfig

_DOCUMENT = ("extends", "smoke")
"""Keys of a document that its resolved recipe lacks."""
_MODALITY_PARTS = {key: kind for key, kind in keys.kinds(ModalityConfig).items() if key not in ("tokenizer", "augment")}
_TRAIN_COMPONENTS = {"optimizer": REQUIRED, "schedule": {"name": "constant"}}


def resolve(document: Document, registry: Registry, problems: Problems, *, smoke: bool = False) -> Recipe | None:
    """Return the recipe that a document describes, or None if problems were reported.

    Args:
        document: with overrides applied.
        registry: source of components.
        problems: collects all problems.
        smoke: replace the recipe's data set with the tokenizers' embedded one.
    """
    return _Recipes(document, registry, problems, smoke).resolve()


class _Recipes:
    def __init__(self, document: Document, registry: Registry, problems: Problems, smoke: bool) -> None:
        self.document, self.registry, self.problems, self.smoke = document, registry, problems, smoke
        self.data: Mapping[str, Any] = document.data
        self.resolver = Resolver(document, registry, problems, smoke=smoke)
        self.sections = OptionalSections(document, registry, self.resolver, problems)

    def resolve(self) -> Recipe | None:
        known = (*keys.names(Recipe), *_DOCUMENT)
        for key in self.data:
            if key not in known:
                self.problems.add(self.document, (key,), f"unknown key{nearest(key, known)}; keys: {listed(known)}")
        top = {name: self.resolver.option(option, self.data, (), "recipes") for name, option in keys.values(Recipe).items()}
        modalities = self._modalities()
        shared: dict[str, Any] = {
            "masker": self._optional("joint_masker", "masker"),
            "corruptor": self._optional("corruptor", "corruptor"),
        }
        shared.update(labels=self.sections.labels(), views=self.sections.views())
        encoder = self._required("encoder")
        networks = NetworkSections(self.document, self.registry, self.resolver, self.problems).resolve(encoder, shared["views"])
        self.sections.check_decoded(shared["views"], networks["predictors"])
        shared.update(networks)
        init = self._init()
        data = self._data(modalities)
        is_other = self.smoke and data is not None and data.dataset.name != self._section("data").get("name")
        if is_other and not self.data.get("smoke"):
            modalities = {name: self._embedded_field(modality) for name, modality in modalities.items()}
        train = self._train()
        if len(self.problems) or encoder is None or data is None or train is None:
            return None
        return Recipe(
            **top,
            **shared,
            format=self.data["omnimask"],
            modalities=modalities,
            encoder=encoder,
            init=init,
            data=data,
            train=train,
        )

    def _required(self, kind: str) -> Component[Any] | None:
        return self.resolver.component(kind, self._section(kind), (kind,))

    def _section(self, key: str) -> Any:
        value = self.data.get(key)
        return {} if value is None or value == UNSET else value

    def _optional(self, kind: str, key: str) -> Component[Any] | None:
        raw = self.data.get(key)
        return None if raw is None else self.resolver.component(kind, raw, (key,))

    def _init(self) -> Component[Any] | None:
        """Return the initializer. In a smoke run, whose sizes differ, it is only validated."""
        raw = self.data.get("init")
        if raw is None:
            return None
        resolver = Resolver(self.document, self.registry, self.problems, forgive_missing=self.smoke)
        init = resolver.component("initializer", raw, ("init",))
        return None if self.smoke else init

    # ---- modalities

    def _modalities(self) -> dict[str, ModalityConfig]:
        raw = self._section("modalities")
        if not isinstance(raw, Mapping) or not raw:
            self.problems.missing(self.document, ("modalities",), "modalities of a sample by name: {image: {tokenizer: ...}}")
            return {}
        for name in raw:
            if "." in str(name):
                self.problems.add(self.document, ("modalities", name), f"{name!r} contains a dot; modality names must not")
        found = {name: self._modality(name, value, ("modalities", name)) for name, value in raw.items()}
        return {name: modality for name, modality in found.items() if modality is not None}

    def _modality(self, name: str, raw: Any, path: KeyPath) -> ModalityConfig | None:
        if not re.fullmatch(r"[A-Za-z_][\w-]*", name):
            self.problems.add(self.document, path, "a modality's name may contain letters, digits, - and _ only")
        if not isinstance(raw, Mapping):
            self.problems.add(self.document, path, "must be a mapping: {tokenizer: ..., masker: ..., corruptor: ...}")
            return None
        known = keys.names(ModalityConfig)
        for key in raw:
            if key not in known:
                message = f"unknown key of a modality{nearest(key, known)}; keys: {listed(known)}"
                self.problems.add(self.document, (*path, key), message)
        self._served(raw, path)
        tokenizer = self.resolver.component("tokenizer", raw.get("tokenizer") or {}, (*path, "tokenizer"))
        parts = {key: self._part(kind, raw, (*path, key)) for key, kind in _MODALITY_PARTS.items()}
        field = self._field(name, raw, path)
        augment = self._augment(raw, path)
        if tokenizer is None:
            return None
        if raw.get("decoder") is None and (reader := getattr(tokenizer.cls, "decoder", None)) is not None:
            parts["decoder"] = self.resolver.component("decoder", {"name": reader}, (*path, "tokenizer"))
        return ModalityConfig(name, tokenizer, field=field, augment=augment, **parts)

    def _field(self, name: str, raw: Mapping[str, Any], path: KeyPath) -> FieldNames:
        """Return the modality's field of the data set, or several of them."""
        option = replace(keys.values(ModalityConfig)["field"], default=name)
        value = self.resolver.option(option, raw, path, "modalities")
        if isinstance(value, tuple) and (not value or len(set(value)) < len(value)):
            fault = "duplicate field" if value else "empty list; omit it to read the field named like the modality"
            self.problems.add(self.document, (*path, "field"), fault)
        return value

    def _part(self, kind: str, raw: Mapping[str, Any], path: KeyPath) -> Component[Any] | None:
        value = raw.get(str(path[-1]))
        return None if value is None else self.resolver.component(kind, value, path)

    def _augment(self, raw: Mapping[str, Any], path: KeyPath) -> tuple[Component[Any], ...]:
        values = raw.get("augment") or []
        if not isinstance(values, list):
            self.problems.add(self.document, (*path, "augment"), "must be a list: [{name: ...}, ...]")
            return ()
        steps = [self.resolver.component("augment", value, (*path, "augment", i)) for i, value in enumerate(values)]
        return tuple(step for step in steps if step is not None)

    def _served(self, raw: Mapping[str, Any], path: KeyPath) -> None:
        """Check that exactly one masker and one corruptor handle a modality."""
        for key, shared in (("masker", "joint masker"), ("corruptor", "corruptor")):
            own, top = raw.get(key) is not None, self.data.get(key) is not None
            if own and top:
                line = self.document.place((key,))
                self.problems.add(self.document, (*path, key), f"{line} sets a {shared} for all modalities; remove one of the two")
            elif not own and not top:
                remedy = f"set a {key} here, or a {shared} for all modalities at the top of the recipe"
                self.problems.missing(self.document, (*path, key), remedy)

    # ---- data and training

    def _data(self, modalities: Mapping[str, ModalityConfig]) -> DataConfig | None:
        path: KeyPath = ("data",)
        try:
            folder = self.document.folder((*path, "path"))
            raw = data_by_path(self._section("data"), self._section("modalities"), self.registry, folder)
        except ValueError as error:
            self.problems.add(self.document, (*path, "path"), str(error))
            return None
        declared = options_of_model(DataOptions)
        resolver = Resolver(self.document, self.registry, self.problems, forgive_missing=self.smoke)
        is_needed = bool(raw) or not self.smoke
        dataset = resolver.component("dataset", raw, path, apart=(*declared, "group")) if is_needed else None
        if not isinstance(raw, Mapping):
            return None
        own = {key: value for key, value in raw.items() if key in declared}
        options = self.resolver.options(declared, own, path, "data", ("group",))
        group = self.sections.group(raw.get("group"), (*path, "group"))
        smoke = SmokeData(self.document, self.resolver, self.problems)
        given = smoke.given()
        if self.smoke:
            dataset = given or smoke.chosen(modalities, dataset, declared)
        return None if dataset is None or options is None or group is None else DataConfig(dataset, DataOptions(**options), group)

    def _embedded_field(self, modality: ModalityConfig) -> ModalityConfig:
        """Set the field to the modality's name, as in all embedded data sets."""
        is_override = self.document.is_override(("modalities", modality.name, "field"))
        return modality if is_override else replace(modality, field=modality.name)

    def _train(self) -> TrainConfig | None:
        raw = self._section("train")
        path: KeyPath = ("train",)
        if not isinstance(raw, Mapping):
            self.problems.add(self.document, path, "must be a mapping: {steps: ..., batch_tokens: ..., optimizer: {name: ...}}")
            return None
        declared = {name: option for name, option in options_of_model(TrainConfig).items() if name not in _TRAIN_COMPONENTS}
        given = {key: value for key, value in raw.items() if key not in _TRAIN_COMPONENTS}
        values = self.resolver.options(declared, given, path, "train", tuple(_TRAIN_COMPONENTS))
        raw, values = self._with_rate(raw, values)
        parts: dict[str, Any] = {}
        for kind, default in _TRAIN_COMPONENTS.items():
            part = raw.get(kind) or ({} if default is REQUIRED else default)
            parts[kind] = self.resolver.component(kind, part, (*path, kind))
        return None if values is None or None in parts.values() else TrainConfig(**values, **parts)

    def _with_rate(self, raw: Mapping[str, Any], values: Mapping[str, Any] | None) -> tuple[Any, Mapping[str, Any] | None]:
        """Return ``train:`` and its ``values`` with a single learning rate.

        If both the optimizer's ``lr`` and ``base_lr`` (proportional to the batch) are given, the one of higher precedence counts.
        """
        optimizer = raw.get("optimizer")
        if raw.get("base_lr") is None or not isinstance(optimizer, Mapping):
            return raw, values
        if values is None:  # a problem was reported, and is enough
            return {**raw, "optimizer": {"lr": 1.0, **optimizer}}, values
        if "lr" in optimizer:
            own, by_batch = (self.document.nearness(path) for path in (("train", "optimizer", "lr"), ("train", "base_lr")))
            if own > by_batch:
                return raw, {**values, "base_lr": None}
            if own == by_batch:
                message = (
                    "conflicts with train.base_lr, which sets the learning rate from the batch size; remove one, or "
                    "set train.base_lr=null"
                )
                self.problems.add(self.document, ("train", "optimizer", "lr"), message)
                return raw, values
        return {**raw, "optimizer": {**optimizer, "lr": values["base_lr"].rate(values["batch_tokens"])}}, values
