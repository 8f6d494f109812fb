"""One predictor at several sizes of an encoder: its first layers, and the first dimensions of their features.

T slots, D width, N targets, V ids.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from omnimask.component import Component
from omnimask.components.targets.cross_entropy import LARGEST
from omnimask.interfaces import (
    Context,
    Encoded,
    LossTerm,
    MaskedBatch,
    Module,
    Packed,
    Prediction,
    Predictor,
    RanksIds,
    Run,
    Target,
    Targets,
    View,
)

Size: TypeAlias = tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]


def of_size(encoded: Encoded, depth: int, layers: int, width: int) -> Encoded:
    """Return the features of an encoder's sub-model: those of one of its layers, with zeros from dimension ``width`` on.

    For example, ``pooled(of_size(encoded, 12, 2, 32), "first")[:, :32]`` is the 32-dimensional vector of a text from the first two
    of twelve layers.

    Args:
        encoded: with the layer tapped, unless it is the last one.
        depth: layers of the encoder.
        layers, width: of the sub-model.
    """
    features = encoded.features.data if layers == depth else encoded.layers[layers]
    # Zeros keep the width that the predictor's layers expect.
    features = functional.pad(features[:, :width], (0, features.shape[1] - width))
    return Encoded(Packed(features, encoded.stream.layout), encoded.stream)


class Matryoshka(Module):
    """A predictor that answers from each of several sub-models of the encoder (Starbucks [0]), so that they are usable alone.

    A sub-model is the encoder's first layers, and the first dimensions of their features; :func:`of_size` gives its vector. One
    inner predictor serves all sizes. It reads each with zeros in place of the missing dimensions, so its first linear layer uses
    only the columns of this size. Every size has its own loss term, ``LABEL.2x32`` for two layers and 32 dimensions.

    Args:
        inner: the predictor; its inputs, answers and their number are this one's.
        sizes: (layers, width) of the sub-models, both ascending.
        distance: weight of the Kullback-Leibler divergence of each size's predictions from those of the largest, which receives no
            gradient from it; a term ``LABEL.2x32.distance`` each, already weighted. For answers with ids.

    [0] Zhuang, Wang, Zheng, Koopman, Zuccon: Starbucks: Improved Training for 2D Matryoshka Embeddings, 2024.
    """

    def __init__(
        self,
        context: Context,
        *,
        inner: Component[Predictor],
        sizes: tuple[Size, ...],
        distance: Annotated[float, Field(ge=0)] = 0.0,
    ) -> None:
        super().__init__()
        _check(sizes, context)
        self.context, self.sizes, self.distance = context, sizes, distance
        self.inner: Any = inner(dataclasses.replace(context, summary=0))
        if self.inner.layers:
            raise ValueError(f"predictor {inner.name} reads layers {list(self.inner.layers)}, which conflicts with sizes")
        if distance and not all(isinstance(self.inner.target(m), RanksIds) for m in context.modalities):
            raise ValueError(f"distance {distance} compares scores of ids, but the target of {inner.name} has none; set 0")
        self.layers: Sequence[int] = tuple(layers for layers, _ in sizes if layers < context.depth)
        self.needs_noise = getattr(self.inner, "needs_noise", False)
        self.answers_sequences = getattr(self.inner, "answers_sequences", False)

    @staticmethod
    def _smoke(options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the first layer, and both layers."""
        return {"sizes": [[1, 16], [2, 32]][-len(options["sizes"]) :]}

    smoke: ClassVar[Any] = _smoke

    @property
    def reads(self) -> Literal["context", "query"]:
        """The stream in which the inner predictor answers."""
        return self.inner.reads

    def target(self, modality: str) -> Target:
        return self.inner.target(modality)

    def select(self, view: View) -> Mapping[str, Targets]:
        selected = self.inner.select(view)
        return {_name(term, size): table for size in self.sizes for term, table in selected.items()}

    def counts(self, batch: MaskedBatch, view: View) -> Mapping[str, float]:
        found = self.inner.counts(batch, view)
        names = {_name(term, size): count for size in self.sizes for term, count in found.items()}
        if not self.distance:
            return names
        return names | {f"{_name(term, size)}.distance": count for size in self.sizes[:-1] for term, count in found.items()}

    def predict(self, encoded: Encoded, view: View, run: Run) -> Mapping[str, Prediction]:
        predictions: dict[str, Prediction] = {}
        for size in self.sizes:
            part = of_size(encoded, self.context.depth, *size)
            predictions |= {_name(term, size): found for term, found in self.inner.predict(part, view, run).items()}
        return predictions

    def losses(self, predictions: Mapping[str, Prediction], run: Run) -> Sequence[LossTerm]:
        terms: list[LossTerm] = []
        for size in self.sizes:
            ending = _name("", size)
            own = {name.removesuffix(ending): found for name, found in predictions.items() if name.endswith(ending)}
            terms += [dataclasses.replace(term, name=_name(term.name, size)) for term in self.inner.losses(own, run)]
            if self.distance and size != self.sizes[-1]:
                terms += [self._distance(term, size, predictions) for term in own]
        return terms

    def _distance(self, term: str, size: Size, predictions: Mapping[str, Prediction]) -> LossTerm:
        name = _name(term, size)
        part, whole = predictions[name], predictions[_name(term, self.sizes[-1])]
        outputs = self.inner.target(part.modality).num_outputs
        total = self.distance * (part.targets.weight * divergence(whole, part, outputs)).sum()
        return LossTerm(f"{name}.distance", total)


def divergence(of: Prediction, by: Prediction, num_outputs: int, largest: int = LARGEST) -> Tensor:
    """Return (N,) Kullback-Leibler divergence of ``by`` from the id probabilities of ``of``, which gets no gradient.

    At most ``largest`` logits of each exist at once.
    """

    def one(features: Tensor, right: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = of.head(right).float().log_softmax(1)
        return functional.kl_div(by.head(features).float().log_softmax(1), wanted, reduction="none", log_target=True).sum(1)

    rows = max(1, largest // num_outputs)
    parts = zip(by.features.split(rows), of.features.detach().split(rows), strict=True)
    return torch.cat([checkpoint(one, features, right, use_reentrant=False) for features, right in parts])  # pyright: ignore[reportArgumentType]


def _name(term: str, size: Size) -> str:
    return f"{term}.{size[0]}x{size[1]}"


def _check(sizes: Sequence[Size], context: Context) -> None:
    layers, widths = [size[0] for size in sizes], [size[1] for size in sizes]
    shown = [list(size) for size in sizes]
    if not sizes or sorted(layers) != layers or sorted(widths) != widths or len(set(sizes)) < len(sizes):
        raise ValueError(f"sizes {shown} must be distinct and increasing, both in layers and in width")
    if layers[-1] > context.depth or widths[-1] > context.width:
        raise ValueError(f"size {shown[-1]} exceeds the encoder ({context.depth} layers, width {context.width})")
    if context.layer is not None:
        raise ValueError(f"layer {context.layer} conflicts with sizes, which set the layers; remove it")
