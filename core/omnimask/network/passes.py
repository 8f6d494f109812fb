"""Networks, and passes over views. T slots, D width."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from omnimask.interfaces import Embedding, Encoded, Encoder, MaskedBatch, Packed, Predictor, Result, Run, Stream, View
from omnimask.network.embed import embed


@dataclass(frozen=True)
class WeightedPredictor:
    """A predictor and the weight of its terms; ``query`` names the view it decodes (None: its own view's query stream)."""

    predictor: Predictor
    weight: float = 1.0
    query: str | None = None


@dataclass(frozen=True)
class Wired:
    """A predictor, the weight of its terms, and the view of a batch it reads."""

    predictor: Predictor
    weight: float
    view: View


class Network(nn.Module):
    """The embeddings of modalities, and an encoder behind them.

    Args:
        embeddings: by modality.
        encoder: embedded slots -> features.
    """

    def __init__(self, embeddings: Mapping[str, nn.Module], encoder: nn.Module) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict(embeddings)
        self.encoder = encoder

    @property
    def skips_unasked(self) -> bool:
        """Whether the encoder can compute its last layer for asked slots alone."""
        return "only_asked" in inspect.signature(self.encoder.forward).parameters

    def forward(self, stream: Stream, batch: MaskedBatch, *, layers: Sequence[int] = (), only_asked: bool = False) -> Encoded:
        """Return features of a stream. ``only_asked`` requires :attr:`skips_unasked`."""
        encoder = cast(Encoder, self.encoder)
        embedded = embed(stream, batch, cast(Mapping[str, Embedding], self.embeddings), encoder.width)
        asked: Any = {"only_asked": True} if only_asked else {}
        return encoder(Packed(embedded, stream.layout), stream, batch, layers=layers, **asked)


@dataclass(frozen=True)
class Pass:
    """One network over one view, and the predictors that read its features. The modules belong to the model.

    ``name`` of the pass, under which later passes find its result; ``view``: name of the encoded view; ``uses`` of predictors by
    label. ``grad`` is False for a pass that only provides answers (a teacher); its predictors have no losses.
    """

    name: str
    view: str
    network: Network
    uses: Mapping[str, WeightedPredictor]
    grad: bool = True

    @property
    def embeddings(self) -> nn.ModuleDict:
        return self.network.embeddings

    @property
    def encoder(self) -> nn.Module:
        return self.network.encoder

    @property
    def predictors(self) -> Mapping[str, Predictor]:
        """Predictors by label."""
        return {label: used.predictor for label, used in self.uses.items()}

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """Layers that predictors read besides the last, ascending."""
        return tuple(sorted({layer for part in self.uses.values() for layer in part.predictor.layers}))

    @cached_property
    def needs_asked_only(self) -> bool:
        """Whether nothing reads features of other slots than the asked ones."""
        return self.network.skips_unasked and all(getattr(part.predictor, "reads_asked", False) for part in self.uses.values())

    def wired(self, batch: MaskedBatch) -> Sequence[Wired]:
        """Return the predictors with their weights and the views of a batch they read."""
        own = batch.views[self.view]
        return [Wired(part.predictor, part.weight, _with_query(own, batch.views, part.query)) for part in self.uses.values()]

    def encode(self, batch: MaskedBatch, earlier: Mapping[str, Result], *, only_asked: bool = False) -> Encoded:
        """Return features of the view's context, without predictions.

        With ``only_asked``, features that predictors do not read are skipped.
        """
        context = batch.views[self.view].context
        return self.network(context, batch, layers=self.layers, only_asked=only_asked and self.needs_asked_only)

    def __call__(self, batch: MaskedBatch, earlier: Mapping[str, Result], *, only_asked: bool = False) -> Result:
        """Return features and predictions. With ``only_asked``, features that predictors do not read are skipped."""
        with torch.set_grad_enabled(self.grad and torch.is_grad_enabled()):
            encoded = self.encode(batch, earlier, only_asked=only_asked)
            result = Result(encoded, {})
            for part in self.wired(batch):
                run = Run(batch, {**earlier, self.name: result})
                result = Result(encoded, {**result.predictions, **part.predictor.predict(encoded, part.view, run)})
        return result


def _with_query(view: View, views: Mapping[str, View], query: str | None) -> View:
    """Return a view whose query stream is the context stream of another view of the same samples."""
    if query is None:
        return view
    other, context = views[query].context, view.context.layout
    # Sequence i of a sample's query decodes sequence i of its context, or the only one.
    parent = np.arange(other.layout.num_sequences)
    if not np.array_equal(context.parent, other.layout.parent):
        parent = np.searchsorted(context.parent, other.layout.parent)
        is_one_each = np.array_equal(context.parent[parent.clip(max=context.num_sequences - 1)], other.layout.parent)
        if np.any(np.diff(context.parent) <= 0) or np.any(np.diff(parent) < 0) or not is_one_each:
            several = np.bincount(context.parent).max(initial=0), np.bincount(other.layout.parent).max(initial=0)
            raise ValueError(
                f"view {query!r} cannot be a query: its sequences differ from those of the encoded view, with up to {several[1]} "
                f"instead of {several[0]} for a sample; set the same repeat and split for both views"
            )
    layout = dataclasses.replace(other.layout, parent=parent)
    return dataclasses.replace(view, query=dataclasses.replace(other, layout=layout))
