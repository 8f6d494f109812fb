"""A resolved recipe: every name looked up, every default written out, every value validated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from omnimask.component import Component
from omnimask.data.fields import FieldNames
from omnimask.recipe.options import plain
from omnimask.recipe.text import dump
from omnimask.training.config import DataOptions, TrainConfig

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
class PredictorConfig:
    """A predictor and its wiring: the modalities it answers for, the layer it reads (None: the last, 1: the first block's
    output), the weight of its loss and the label of its loss terms."""

    component: Component[Any]
    of: tuple[str, ...]
    layer: int | None
    weight: float
    label: str


@dataclass(frozen=True)
class DataConfig:
    """The data set, and the framework's own options of ``data:``."""

    dataset: Component[Any]
    options: DataOptions


@dataclass(frozen=True)
class Recipe:
    """All that a run is made of. ``name`` is ``modality/recipe`` or the file's stem; ``path`` the file it was read from.

    ``masker`` is a joint masker over all modalities, ``corruptor`` serves the modalities without one of their own. ``init`` gives
    the model the weights that it begins with; None: they are drawn from the seed.
    """

    modalities: Mapping[str, ModalityConfig]
    encoder: Component[Any]
    predictors: tuple[PredictorConfig, ...]
    data: DataConfig
    train: TrainConfig
    masker: Component[Any] | None = None
    corruptor: Component[Any] | None = None
    init: Component[Any] | None = None
    format: int = 1
    seed: int = 0
    device: Device = "auto"
    name: str = field(default="", compare=False)
    path: Path | None = field(default=None, compare=False)

    def to_yaml(self) -> str:
        """The recipe with everything written out; loading the text gives an equal recipe."""
        data: dict[str, Any] = {"omnimask": self.format, "seed": self.seed, "device": self.device}
        data["modalities"] = {name: _modality(modality) for name, modality in self.modalities.items()}
        data.update({key: plain(part) for key in ("masker", "corruptor", "encoder") if (part := getattr(self, key)) is not None})
        data["predictors"] = [_predictor(predictor) for predictor in self.predictors]
        data.update({"init": plain(self.init)} if self.init is not None else {})
        data["data"] = {**plain(self.data.dataset), **plain(self.data.options)}
        data["train"] = plain(self.train)
        return dump(data)


def _modality(modality: ModalityConfig) -> dict[str, Any]:
    keys = ("tokenizer", "decoder", "augment", "masker", "corruptor", "embedding", "field")
    return {key: plain(value) for key in keys if (value := getattr(modality, key)) not in (None, ())}


def _predictor(predictor: PredictorConfig) -> dict[str, Any]:
    wiring = {"of": list(predictor.of), "layer": predictor.layer, "weight": predictor.weight, "label": predictor.label}
    return {**plain(predictor.component), **wiring}
