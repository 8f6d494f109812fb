"""Resolved recipe: names are looked up, defaults filled in, and values validated."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, PositiveInt

from omnimask.component import Component
from omnimask.data.config import DataOptions
from omnimask.data.fields import FieldNames
from omnimask.data.view_names import MAIN
from omnimask.recipe.keys import SPREAD, Key, written
from omnimask.recipe.yaml_text import dump
from omnimask.training.config import TrainConfig

Device: TypeAlias = Literal["auto", "cpu", "cuda", "mps"]
EmbeddingGradient: TypeAlias = Literal["shared", "disentangled"]


@dataclass(frozen=True)
class ModalityConfig:
    """Host components of one modality.

    ``field`` is the data set's field with its raw values, or several fields, whose mapping is the raw value. ``decoder`` defaults
    to the tokenizer's; None if values arrive decoded. ``masker`` is None if the recipe's joint masker handles the modality,
    ``corruptor`` if the recipe's own does. ``embedding`` is None if the builder chooses one by the token specification.
    """

    name: str
    tokenizer: Annotated[Component[Any], Key("required", kind="tokenizer")]
    decoder: Annotated[
        Component[Any] | None, Key("reads the bytes of files; default: the tokenizer's own choice", kind="decoder")
    ] = None
    augment: Annotated[tuple[Component[Any], ...], Key("a list, applied in order, during training only", kind="augment")] = ()
    masker: Annotated[Component[Any] | None, Key("its own, unless a joint masker covers all modalities", kind="masker")] = None
    corruptor: Annotated[
        Component[Any] | None, Key("its own, unless one at the top of the recipe covers all modalities", kind="corruptor")
    ] = None
    embedding: Annotated[
        Component[Any] | None, Key("default: `table` for ids, `linear` for continuous content", kind="embedding")
    ] = None
    field: Annotated[
        FieldNames,
        Key("field of the data set, or several, the main one first; default: the modality's name", type=str | tuple[str, ...]),
    ] = dataclasses.field(kw_only=True)


@dataclass(frozen=True)
class ViewConfig:
    """View of every sample: ``masker`` for all modalities together, or ``maskers`` by modality.

    Maskers and corruptor that are None or empty are inherited from the main view, whose own are those of the modalities. ``draw``
    names a random draw of its own; views without one share one. A sample has ``repeat`` maskings, and a sequence for each; None: 1,
    or as many as its reader for a decoded view. ``split`` is a field of tokens, each run of whose values becomes a sequence.
    ``ask`` is None if the masker decides which tokens are targets. ``of`` are the view's modalities, all if empty.
    """

    name: str
    masker: Annotated[Component[Any] | None, Key("a masker for all modalities, a mapping by modality, or a joint masker")] = None
    maskers: Annotated[Mapping[str, Component[Any]], Key("", name="masker")] = field(default_factory=dict[str, Component[Any]])
    corruptor: Annotated[Component[Any] | None, Key("default: the main view's", kind="corruptor")] = None
    draw: Annotated[str | None, Key("name of an independent random draw; default: the shared one", type=str | None)] = None
    repeat: Annotated[
        int | None,
        Key(
            "number of maskings of a sample, a sequence for each; default: 1, or the main view's for a view that predictors decode",
            type=PositiveInt | None,
        ),
    ] = None
    split: Annotated[
        str | None,
        Key("field of tokens; each run of equal values is a sequence of its own; default: no splitting", type=str | None),
    ] = None
    ask: Annotated[
        Literal["all"] | None,
        Key("`all`: every token except special ones is a target; default: as set by the masker", type=Literal["all"] | None),
    ] = None
    of: Annotated[
        tuple[str, ...], Key("modality, or list of modalities, to show; default: all", type=str | list[str] | None, unset=None)
    ] = ()


@dataclass(frozen=True)
class LabelConfig:
    """Label of samples: the data set's field, and ``classes`` of an integer, optionally named (None for a real number)."""

    name: str
    field: Annotated[str, Key("field of the data set; default: the label's name", type=str | None)]
    classes: Annotated[int | None, Key("values are integers below this number; default: real numbers", type=PositiveInt | None)] = (
        None
    )
    names: Annotated[tuple[str, ...], Key("names of the classes, in order", type=tuple[str, ...] | None)] = ()


@dataclass(frozen=True)
class PredictorConfig:
    """Predictor and its wiring: modalities, layer, weight and label of its loss terms, and decoded view.

    ``layer`` is the layer it reads (None for the last, 1 for the first block's output); ``query`` is the view it decodes (None for
    the corruptor's query).
    """

    component: Annotated[Component[Any], SPREAD]
    of: Annotated[tuple[str, ...], Key("modality, or list of modalities, to predict; default: all", type=str | list[str] | None)]
    layer: Annotated[int | None, Key("encoder layer to read, from 1; default: the last", type=PositiveInt | None)]
    weight: Annotated[float, Key("weight of its loss", type=Annotated[float, Field(gt=0)], unset=1.0)]
    label: Annotated[str, Key("name of its loss, without dots; default: the component's name with `_` for `.`", type=str | None)]
    query: Annotated[str | None, Key("view to decode; default: the corruptor's query", type=str | None)] = None


@dataclass(frozen=True)
class BorrowedEmbeddings:
    """Embeddings of another network, used instead of own ones."""

    of: Annotated[str, Key("network whose embeddings are used", type=str, unset="")]
    gradient: Annotated[
        EmbeddingGradient,
        Key(
            "`shared`: both networks train them; `disentangled`: the other one alone, plus a trained difference of this network",
            type=EmbeddingGradient,
        ),
    ] = "shared"


@dataclass(frozen=True)
class EncoderConfig:
    """Further network: an encoder, the modalities it embeds, and the network whose embeddings it uses instead of its own."""

    component: Annotated[Component[Any], SPREAD]
    of: Annotated[tuple[str, ...], Key("modalities it embeds; default: all", type=str | list[str] | None)]
    embeddings: Annotated[
        BorrowedEmbeddings | None, Key("network whose embeddings it uses: a name, or {of: ..., gradient: ...}")
    ] = None


@dataclass(frozen=True)
class PassConfig:
    """Pass of a network over a view.

    ``predictors`` are written in place, or labels of predictors that are written elsewhere. Without ``grad`` nothing is
    differentiated, and its predictors have no losses.
    """

    name: Annotated[str, Key("name of the pass", type=str, unset="")]
    view: Annotated[str, Key("view to encode", type=str)] = MAIN
    encoder: Annotated[str, Key("network: a name under `encoders`; default: the one of `encoder`", type=str | None, unset=None)] = (
        MAIN
    )
    grad: Annotated[
        bool,
        Key(
            "whether it is trained; default: if it is the main pass, or names an encoder with weights to train",
            type=bool | None,
            unset=None,
        ),
    ] = False
    input: Annotated[
        tuple[str, ...],
        Key(
            "earlier passes, whose features slots with content show instead of embeddings", type=str | list[str] | None, unset=None
        ),
    ] = ()
    context: Annotated[str | None, Key("earlier pass whose features the encoder attends to", type=str | None)] = None
    replace: Annotated[Component[Any] | None, Key("changes the ids that its slots show", kind="replacer")] = None
    predictors: Annotated[
        tuple[str | PredictorConfig, ...],
        Key("predictors, in place or by label; default: all under `predictors` for an untrained pass of `encoder`, else none"),
    ] = ()


@dataclass(frozen=True)
class GroupConfig:
    """Number of consecutive samples in a group, and the transform of a group."""

    size: Annotated[int, Key("consecutive samples in a group", type=PositiveInt)] = 1
    transform: Annotated[Component[Any] | None, Key("makes other samples of a group", kind="transform")] = None


@dataclass(frozen=True)
class DataConfig:
    """Data set, the framework's own options of ``data:``, and the groups of its order."""

    dataset: Annotated[Component[Any], SPREAD]
    options: Annotated[DataOptions, SPREAD]
    group: Annotated[GroupConfig, Key("groups of consecutive samples")] = GroupConfig()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Complete description of a run. ``name`` is ``modality/recipe`` or the file's stem; ``path`` the file it was read from.

    ``masker`` is a joint masker over all modalities; ``corruptor`` handles modalities without their own. ``init`` sets the initial
    weights; None initializes them from the seed. ``views`` are additional to the main view, which the modalities describe; under
    ``main`` they have its other keys. ``encoder`` is that of the network ``main``. ``plugins`` are Python files with components, in
    addition to installed ones.
    """

    format: Annotated[int, Key("version of the format", name="omnimask")] = 1
    seed: Annotated[int, Key("determines every random choice of the run", type=Annotated[int, Field(ge=0)])] = 0
    device: Annotated[Device, Key("device of the model", type=Device)] = "auto"
    plugins: Annotated[tuple[Path, ...], Key("Python files with components")] = ()
    labels: Annotated[Mapping[str, LabelConfig], Key("labels of samples, by name")] = field(default_factory=dict[str, LabelConfig])
    modalities: Annotated[Mapping[str, ModalityConfig], Key("modalities by name")]
    masker: Annotated[Component[Any] | None, Key("joint masker over all modalities", kind="joint_masker")] = None
    corruptor: Annotated[Component[Any] | None, Key("corruptor of modalities without their own", kind="corruptor")] = None
    views: Annotated[Mapping[str, ViewConfig], Key("additional views, by name; `main`: keys of the main view")] = field(
        default_factory=dict[str, ViewConfig]
    )
    encoder: Annotated[Component[Any], Key("encoder", kind="encoder")]
    encoders: Annotated[Mapping[str, EncoderConfig], Key("further networks, by name")] = field(
        default_factory=dict[str, EncoderConfig]
    )
    passes: Annotated[tuple[PassConfig, ...], Key("passes, in order; the main one comes last unless it is listed")] = ()
    predictors: Annotated[tuple[PredictorConfig, ...], Key("predictors of the main pass")] = ()
    backbone: Annotated[str | None, Key("pass whose encoder is evaluated and exported; default: the main one", type=str | None)] = (
        None
    )
    init: Annotated[Component[Any] | None, Key("initial weights", kind="initializer")] = None
    data: Annotated[DataConfig, Key("data set")]
    train: Annotated[TrainConfig, Key("training loop")]
    name: str = field(default="", compare=False)
    path: Path | None = field(default=None, compare=False)

    @property
    def every_predictor(self) -> tuple[PredictorConfig, ...]:
        """Predictors of the main pass, and those written in passes."""
        in_place = [part for one in self.passes for part in one.predictors if isinstance(part, PredictorConfig)]
        return (*self.predictors, *in_place)

    def to_yaml(self) -> str:
        """Return the complete recipe as YAML. Loading the text gives an equal recipe."""
        data = written(self)
        if self.train.base_lr is None:
            del data["train"]["base_lr"]
        else:
            del data["train"]["optimizer"]["lr"]  # computed from the batch
        return dump(data)
