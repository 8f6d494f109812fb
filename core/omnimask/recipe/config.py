"""A resolved recipe: every name looked up, every default written out, every value validated."""

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
    """The host components of one modality; ``field`` is the data set's field that its raw values come from, or several, whose
    mapping is the raw value.

    ``decoder`` is the one that the tokenizer names, unless the recipe gives another; None where values arrive decoded. ``masker``
    is None when the recipe's joint masker serves the modality, ``corruptor`` when the recipe's own does, ``embedding`` when the
    builder is to choose one by what the tokens are.
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
    """A further view of every sample: ``masker`` for all modalities together, or ``maskers`` by modality; what is None or empty is
    the main view's. ``draw`` names a drawing of its own; views without one share one."""

    name: str
    masker: Component[Any] | None = None
    maskers: Mapping[str, Component[Any]] = field(default_factory=dict[str, Component[Any]])
    corruptor: Component[Any] | None = None
    draw: str | None = None


@dataclass(frozen=True)
class PassConfig:
    """A pass before the main one: the recipe's encoder and the predictors with these labels, over a view, for answers alone."""

    name: str
    view: str
    predictors: tuple[str, ...]


@dataclass(frozen=True)
class LabelConfig:
    """A label of samples: the data set's field; ``classes`` of a whole number, named or not (None: it is a number)."""

    name: str
    field: str
    classes: int | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class PredictorConfig:
    """A predictor and its wiring: the modalities it answers for, the layer it reads (None: the last, 1: the first block's
    output), the weight of its loss, the label of its loss terms, and the view that it decodes (None: the corruptor's query)."""

    component: Component[Any]
    of: tuple[str, ...]
    layer: int | None
    weight: float
    label: str
    query: str | None = None


@dataclass(frozen=True)
class GroupConfig:
    """How many consecutive samples belong together, and what is done to them together."""

    size: int = 1
    transform: Component[Any] | None = None


@dataclass(frozen=True)
class DataConfig:
    """The data set, the framework's own options of ``data:``, and the groups of its order."""

    dataset: Component[Any]
    options: DataOptions
    group: GroupConfig = GroupConfig()


@dataclass(frozen=True)
class Recipe:
    """All that a run is made of. ``name`` is ``modality/recipe`` or the file's stem; ``path`` the file it was read from.

    ``masker`` is a joint masker over all modalities, ``corruptor`` serves the modalities without one of their own. ``init`` gives
    the model the weights that it begins with; None: they are drawn from the seed. ``views`` stand beside the main one, which the
    modalities describe, and ``passes`` before the main one. ``plugins`` are Python files that components come from, beside what
    is installed.
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
        """The recipe with everything written out; loading the text gives an equal recipe."""
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
            del data["train"]["optimizer"]["lr"]  # it follows from the batch
        return dump(data)


def _given(part: Any, *keys: str) -> dict[str, Any]:
    """What of these attributes is there, as a recipe writes it."""
    return {key: plain(value) for key in keys if (value := getattr(part, key)) not in (None, (), {})}


def _modality(modality: ModalityConfig) -> dict[str, Any]:
    return _given(modality, "tokenizer", "decoder", "augment", "masker", "corruptor", "embedding", "field")


def _view(view: ViewConfig) -> dict[str, Any]:
    maskers = {"masker": plain(view.maskers)} if view.maskers else {}
    return {**maskers, **_given(view, "masker", "corruptor", "draw")}


def _predictor(predictor: PredictorConfig) -> dict[str, Any]:
    wiring = {"of": list(predictor.of), "layer": predictor.layer, "weight": predictor.weight, "label": predictor.label}
    return {**plain(predictor.component), **wiring, **_given(predictor, "query")}
