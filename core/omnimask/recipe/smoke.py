"""Shrinking of a resolved recipe, to test its wiring in seconds on embedded data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from omnimask.component import Component
from omnimask.data.view_names import MAIN
from omnimask.recipe.config import DataConfig, GroupConfig, ModalityConfig, PassConfig, PredictorConfig, Recipe, ViewConfig
from omnimask.recipe.document import Document, KeyPath
from omnimask.recipe.options import INVALID, Resolver, plain
from omnimask.recipe.problems import Problems
from omnimask.registry import Registry
from omnimask.registry.signature import options_of

TRAIN: Mapping[str, Any] = {
    "steps": 8,
    "batch_tokens": 2048,
    "workers": 0,
    "log_every": 1,
    "validate_every": 4,
    "checkpoint_every": 4,
    "compile": False,
}
MAX_VALIDATION = 64
"""Maximum number of held-out samples in one validation of a smoke run."""

REPEAT = 2
"""Maximum number of repetitions of a view in a smoke run."""


def shrink(recipe: Recipe, document: Document, registry: Registry, problems: Problems) -> Recipe:
    """Return the recipe with few, small steps and every component reduced by ``smoke`` of its class.

    Each number becomes the smaller of the recipe's and the class's. Values of the command line stay unchanged.
    """
    return _Shrinker(document, registry, problems).recipe(recipe)


class _Shrinker:
    def __init__(self, document: Document, registry: Registry, problems: Problems) -> None:
        self.document, self.problems = document, problems
        self.resolver = Resolver(document, registry, problems)

    def recipe(self, recipe: Recipe) -> Recipe:
        encoder = self.component(recipe.encoder, ("encoder",))
        encoders = {name: self.component(part.component, ("encoders", name)) for name, part in recipe.encoders.items()}
        encoders[MAIN] = encoder
        dataset = self.component(recipe.data.dataset, ("data",))
        return replace(
            recipe,
            modalities={name: self._modality(modality) for name, modality in recipe.modalities.items()},
            masker=self._optional(recipe.masker, ("masker",)),
            corruptor=self._optional(recipe.corruptor, ("corruptor",)),
            encoder=encoder,
            encoders={name: replace(part, component=encoders[name]) for name, part in recipe.encoders.items()},
            passes=tuple(self._pass(part, ("passes", i), encoders) for i, part in enumerate(recipe.passes)),
            predictors=tuple(self._predictor(p, ("predictors", i), encoder) for i, p in enumerate(recipe.predictors)),
            views={name: self._view(view) for name, view in recipe.views.items()},
            data=DataConfig(dataset, recipe.data.options.model_copy(update=self._data(recipe)), self._group(recipe.data.group)),
            train=recipe.train.model_copy(update=self._train(recipe)),
        )

    def component(self, component: Component[Any], path: KeyPath) -> Component[Any]:
        """Reduce the component and nested ones."""
        cls = component.load()
        declared = options_of(cls)
        options = dict(component.options)
        smoke: Any = getattr(cls, "smoke", {})
        reduced: Any = smoke(options) if callable(smoke) else smoke
        for name, small in reduced.items():
            if name not in declared:
                self.problems.add(self.document, path, f"{cls.__name__}.smoke contains {name!r}, which is not an option")
            elif not self.document.is_override((*path, name)):
                value = self.resolver.value(declared[name], plain(_smaller(options[name], small)), (*path, name), "smoke")
                options[name] = options[name] if value is INVALID else value
        return replace(component, options={name: self._nested(value, (*path, name)) for name, value in options.items()})

    def _nested(self, value: Any, path: KeyPath) -> Any:
        if isinstance(value, Component):
            return self.component(value, path)
        if type(value) in (list, tuple):
            return type(value)(self._nested(item, (*path, index)) for index, item in enumerate(value))
        if type(value) is dict:
            return {key: self._nested(item, (*path, key)) for key, item in value.items()}
        return value

    def _optional(self, component: Component[Any] | None, path: KeyPath) -> Component[Any] | None:
        return None if component is None else self.component(component, path)

    def _modality(self, modality: ModalityConfig) -> ModalityConfig:
        path: KeyPath = ("modalities", modality.name)
        return replace(
            modality,
            tokenizer=self.component(modality.tokenizer, (*path, "tokenizer")),
            augment=tuple(self.component(step, (*path, "augment", i)) for i, step in enumerate(modality.augment)),
            decoder=self._optional(modality.decoder, (*path, "decoder")),
            masker=self._optional(modality.masker, (*path, "masker")),
            corruptor=self._optional(modality.corruptor, (*path, "corruptor")),
            embedding=self._optional(modality.embedding, (*path, "embedding")),
        )

    def _predictor(self, predictor: PredictorConfig, path: KeyPath, encoder: Component[Any]) -> PredictorConfig:
        depth = encoder.options.get("depth")
        layer = min(predictor.layer, depth) if predictor.layer is not None and isinstance(depth, int) else predictor.layer
        return replace(predictor, component=self.component(predictor.component, path), layer=layer)

    def _pass(self, part: PassConfig, path: KeyPath, encoders: Mapping[str, Component[Any]]) -> PassConfig:
        used = [
            one if isinstance(one, str) else self._predictor(one, (*path, "predictors", index), encoders[part.encoder])
            for index, one in enumerate(part.predictors)
        ]
        return replace(part, replace=self._optional(part.replace, (*path, "replace")), predictors=tuple(used))

    def _view(self, view: ViewConfig) -> ViewConfig:
        path: KeyPath = ("views", view.name)
        return replace(
            view,
            masker=self._optional(view.masker, (*path, "masker")),
            maskers={name: self.component(masker, (*path, "masker", name)) for name, masker in view.maskers.items()},
            corruptor=self._optional(view.corruptor, (*path, "corruptor")),
            repeat=view.repeat if view.repeat is None or self.document.is_override((*path, "repeat")) else min(view.repeat, REPEAT),
        )

    def _group(self, group: GroupConfig) -> GroupConfig:
        return replace(group, transform=self._optional(group.transform, ("data", "group", "transform")))

    def _data(self, recipe: Recipe) -> dict[str, Any]:
        if self.document.is_override(("data", "max_validation")):
            return {}
        return {"max_validation": min(recipe.data.options.max_validation, MAX_VALIDATION)}

    def _train(self, recipe: Recipe) -> dict[str, Any]:
        changed = {
            name: _smaller(getattr(recipe.train, name), small)
            for name, small in TRAIN.items()
            if not self.document.is_override(("train", name))
        }
        changed["base_lr"] = None  # the rate stays that of the original batch
        for kind in ("optimizer", "schedule"):
            changed[kind] = self.component(getattr(recipe.train, kind), ("train", kind))
        return changed


def _smaller(current: Any, small: Any) -> Any:
    return min(current, small) if _is_number(current) and _is_number(small) else small


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
