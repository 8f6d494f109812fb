"""Passes: networks over views, and the predictors that read their features. T slots, P store tokens, D width."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce

import numpy as np
import torch
from torch import Tensor, nn

from omnimask.interfaces import Encoded, MaskedBatch, Predictor, Replacer, Result, Run, View
from omnimask.network.earlier import Requests
from omnimask.network.network import Network


@dataclass(frozen=True)
class WeightedPredictor:
    """A predictor and the weight of its terms.

    ``query`` names the view it decodes (None: its own view's query stream). ``prefix`` stands before the names of its terms, in
    passes other than the one that owns it.
    """

    predictor: Predictor
    weight: float = 1.0
    query: str | None = None
    prefix: str = ""


@dataclass(frozen=True)
class Wired:
    """A predictor, the weight of its terms, the view of a batch it reads, and the prefix of its terms' names."""

    predictor: Predictor
    weight: float
    view: View
    prefix: str = ""


@dataclass(frozen=True)
class Pass:
    """One network over one view, and the predictors that read its features. The modules belong to the model.

    Attributes:
        name: of the pass, under which later passes find its result.
        view: name of the encoded view.
        network: of the model.
        uses: predictors by label.
        grad: False for a pass that only provides answers (a teacher); its predictors have no losses.
        input: earlier passes, whose features its slots show instead of embeddings.
        context: earlier pass whose features its encoder attends to.
        replace: changes the ids that its slots show.
        requests: what others read of it.
    """

    name: str
    view: str
    network: Network
    uses: Mapping[str, WeightedPredictor]
    grad: bool = True
    input: tuple[str, ...] = ()
    context: str | None = None
    replace: Replacer | None = None
    requests: Requests = field(default_factory=Requests)

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

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the earlier passes whose features its encoder reads."""
        return (*self.input, *(() if self.context is None else (self.context,)))

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """Layers read besides the last, ascending."""
        own = {layer for part in self.uses.values() for layer in part.predictor.layers}
        return tuple(sorted(own | self.requests.layers))

    @cached_property
    def mlps(self) -> tuple[int, ...]:
        """Blocks whose MLP outputs are read, ascending."""
        return tuple(sorted(self.requests.mlps))

    @cached_property
    def needs_asked_only(self) -> bool:
        """Whether nothing reads features of other slots than the asked ones."""
        own = all(getattr(part.predictor, "reads_asked", False) for part in self.uses.values())
        return own and not self.requests.reads_features and self.network.skips_unasked

    def wired(self, batch: MaskedBatch) -> Sequence[Wired]:
        """Return the predictors with their weights and the views of a batch they read, as the host knows them."""
        return self._wired(batch, batch.views[self.view])

    def _wired(self, batch: MaskedBatch, own: View) -> Sequence[Wired]:
        return [
            Wired(part.predictor, part.weight, _with_query(own, batch.views, part.query), part.prefix)
            for part in self.uses.values()
        ]

    def encode(self, batch: MaskedBatch, earlier: Mapping[str, Result], *, only_asked: bool = False) -> Encoded:
        """Return features of the view's context, without replacements and predictions.

        With ``only_asked``, features that nothing reads are skipped.
        """
        return self._encode(batch, batch.views[self.view], earlier, only_asked)

    def _encode(self, batch: MaskedBatch, view: View, earlier: Mapping[str, Result], only_asked: bool) -> Encoded:
        return self.network(
            view.context,
            batch,
            features=self._features(batch, earlier) if self.input else None,
            context=None if self.context is None else earlier[self.context].encoded,
            layers=self.layers,
            mlps=self.mlps,
            only_asked=only_asked and self.needs_asked_only,
        )

    def _features(self, batch: MaskedBatch, earlier: Mapping[str, Result]) -> Tensor:
        """Return (P, D) the sum of the earlier features in store coordinates."""
        return reduce(torch.add, [earlier[name].encoded.in_store(batch.num_tokens) for name in self.input])

    def __call__(self, batch: MaskedBatch, earlier: Mapping[str, Result], *, only_asked: bool = False) -> Result:
        """Return features and predictions. With ``only_asked``, features that nothing reads are skipped."""
        with torch.set_grad_enabled(self.grad and torch.is_grad_enabled()):
            view = batch.views[self.view]
            if self.replace is not None:
                view = dataclasses.replace(view, context=self.replace(view.context, Run(batch, earlier)))
            encoded = self._encode(batch, view, earlier, only_asked)
            result = Result(encoded, {})
            for part in self._wired(batch, view):
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
