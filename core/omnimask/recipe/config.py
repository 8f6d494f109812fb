"""Resolved recipe: names are looked up, defaults filled in, and values validated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from omnimask.component import Component
from omnimask.data.config import DataOptions
from omnimask.data.fields import FieldNames
from omnimask.recipe.options import plain
from omnimask.recipe.yaml_text import dump
from omnimask.training.config import TrainConfig

Device: TypeAlias = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True)
class ModalityConfig:
    """Host components of one modality.

    ``field`` is the data set's field with its raw values, or several fields, whose mapping is the raw value. ``decoder`` defaults
    to the tokenizer's; None if values arrive decoded. ``masker`` is None if the recipe's joint masker handles the modality,
    ``corruptor`` if the recipe's own does. ``embedding`` is None if the builder chooses one by the token specification.
    """

    name: str
    tokenizer: Component[Any]
    field: FieldNames
    decoder: Component[Any] | None = None
    augment: tuple[Component[Any], ...] = ()
    masker: Component[Any] | None = None
    corruptor: Component[Any] | None = None
    embedding: Component[Any] | None = None


@dataclass(frozen=True)
class ViewConfig:
    """Additional view of every sample: ``masker`` for all modalities together, or ``maskers`` by modality.

    Parts that are None or empty are inherited from the main view. ``draw`` names a random draw of its own; views without one share
    one.
    """

    name: str
    masker: Component[Any] | None = None
    maskers: Mapping[str, Component[Any]] = field(default_factory=dict[str, Component[Any]])
    corruptor: Component[Any] | None = None
    draw: str | None = None


@dataclass(frozen=True)
class PassConfig:
    """Pass before the main one, for answers only: the recipe's encoder and the predictors with these labels, over a view."""

    name: str
    view: str
    predictors: tuple[str, ...]


@dataclass(frozen=True)
class LabelConfig:
    """Label of samples: the data set's field, and ``classes`` of an integer, optionally named (None for a real number)."""

    name: str
    field: str
    classes: int | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class PredictorConfig:
    """Predictor and its wiring: modalities, layer, weight and label of its loss terms, and decoded view.

    ``layer`` is the layer it reads (None for the last, 1 for the first block's output); ``query`` is the view it decodes (None for
    the corruptor's query).
    """

    component: Component[Any]
    of: tuple[str, ...]
    layer: int | None
    weight: float
    label: str
    query: str | None = None


@dataclass(frozen=True)
class GroupConfig:
    """Number of consecutive samples in a group, and the transform of a group."""

    size: int = 1
    transform: Component[Any] | None = None


@dataclass(frozen=True)
class DataConfig:
    """Data set, the framework's own options of ``data:``, and the groups of its order."""

    dataset: Component[Any]
    options: DataOptions
    group: GroupConfig = GroupConfig()


@dataclass(frozen=True)
class Recipe:
    """Complete description of a run. ``name`` is ``modality/recipe`` or the file's stem; ``path`` the file it was read from.

    ``masker`` is a joint masker over all modalities; ``corruptor`` handles modalities without their own. ``init`` sets the initial
    weights; None initializes them from the seed. ``views`` are additional to the main view, which the modalities describe;
    ``passes`` run before the main one. ``plugins`` are Python files with components, in addition to installed ones.
    """

    modalities: Mapping[str, ModalityConfig]
    encoder: Component[Any]
    predictors: tuple[PredictorConfig, ...]
    data: DataConfig
    train: TrainConfig
    masker: Component[Any] | None = None
    corruptor: Component[Any] | None = None
    init: Component[Any] | None = None
    labels: Mapping[str, LabelConfig] = field(default_factory=dict[str, LabelConfig])
    views: Mapping[str, ViewConfig] = field(default_factory=dict[str, ViewConfig])
    passes: tuple[PassConfig, ...] = ()
    plugins: tuple[Path, ...] = ()
    format: int = 1
    seed: int = 0
    device: Device = "auto"
    name: str = field(default="", compare=False)
    path: Path | None = field(default=None, compare=False)

    def to_yaml(self) -> str:
        """Return the complete recipe as YAML. Loading the text gives an equal recipe."""
        data: dict[str, Any] = {"omnimask": self.format, "seed": self.seed, "device": self.device}
        data["plugins"] = plain(self.plugins)
        data["labels"] = {name: _given(label, "field", "classes", "names") for name, label in self.labels.items()}
        data["modalities"] = {name: _modality(modality) for name, modality in self.modalities.items()}
        data.update({key: plain(part) for key in ("masker", "corruptor") if (part := getattr(self, key)) is not None})
        data["views"] = {name: _view(view) for name, view in self.views.items()}
        data["encoder"] = plain(self.encoder)
        data["passes"] = [_given(part, "name", "view", "predictors") for part in self.passes]
        data["predictors"] = [_predictor(predictor) for predictor in self.predictors]
        data.update({"init": plain(self.init)} if self.init is not None else {})
        data = {key: value for key, value in data.items() if value not in ({}, [])}
        group = {} if self.data.group == GroupConfig() else {"group": _given(self.data.group, "size", "transform")}
        data["data"] = {**plain(self.data.dataset), **plain(self.data.options), **group}
        data["train"] = plain(self.train)
        if self.train.base_lr is None:
            del data["train"]["base_lr"]
        else:
            del data["train"]["optimizer"]["lr"]  # computed from the batch
        return dump(data)


def _given(part: Any, *keys: str) -> dict[str, Any]:
    """Return those of the attributes that are set, in the form of a recipe."""
    return {key: plain(value) for key in keys if (value := getattr(part, key)) not in (None, (), {})}


def _modality(modality: ModalityConfig) -> dict[str, Any]:
    return _given(modality, "tokenizer", "decoder", "augment", "masker", "corruptor", "embedding", "field")


def _view(view: ViewConfig) -> dict[str, Any]:
    maskers = {"masker": plain(view.maskers)} if view.maskers else {}
    return {**maskers, **_given(view, "masker", "corruptor", "draw")}


def _predictor(predictor: PredictorConfig) -> dict[str, Any]:
    wiring = {"of": list(predictor.of), "layer": predictor.layer, "weight": predictor.weight, "label": predictor.label}
    return {**plain(predictor.component), **wiring, **_given(predictor, "query")}
