"""Results of earlier passes, as components ask for them when they are built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from omnimask.interfaces import Encoded, Encoder, Prediction, Run
from omnimask.network.network import Network


@dataclass
class Requests:
    """What later passes and targets read of a pass: blocks whose outputs and whose MLP outputs they tap, and whether they read
    features of slots that its own predictors do not."""

    layers: set[int] = field(default_factory=set[int])
    mlps: set[int] = field(default_factory=set[int])
    reads_features: bool = False
    is_read: bool = False


class PassHandle:
    """Handle on an earlier pass; see :class:`omnimask.interfaces.EarlierPass`.

    Args:
        name: of the pass.
        view: name of the view it encodes.
        network: its network.
        labels: of its predictors.
        requests: collects what is asked for.
    """

    def __init__(self, name: str, view: str, network: Network, labels: Sequence[str], requests: Requests) -> None:
        self.name, self.view, self._network, self._labels, self._requests = name, view, network, tuple(labels), requests
        encoder = cast(Encoder, network.encoder)
        self.width, self.depth, self.num_summary = encoder.width, encoder.depth, encoder.num_summary

    def encoded(self, *, layers: Sequence[int] = (), mlps: Sequence[int] = ()) -> Callable[[Run], Encoded]:
        for layer in (*layers, *mlps):
            if not 1 <= layer <= self.depth:
                raise ValueError(f"pass {self.name} has layers 1 to {self.depth}; layer {layer} does not exist")
        if mlps and not self._network.returns_mlps:
            raise ValueError(
                f"the encoder of pass {self.name}, {type(self._network.encoder).__name__}, does not return outputs of its MLPs; "
                "read the outputs of its blocks"
            )
        self._requests.layers |= set(layers)
        self._requests.mlps |= set(mlps)
        self._requests.reads_features = self._requests.is_read = True
        name = self.name
        return lambda run: run.results[name].encoded

    def predictions(self, label: str | None = None) -> Callable[[Run], Mapping[str, Prediction]]:
        if label is None and len(self._labels) != 1:
            raise ValueError(f"pass {self.name} has {len(self._labels)} predictors ({', '.join(self._labels)}); name one")
        chosen = self._labels[0] if label is None else label
        if chosen not in self._labels:
            raise ValueError(
                f"pass {self.name} has no predictor {chosen!r}; its predictors: {', '.join(self._labels) or 'none'}. "
                f"Add it there: {{name: {self.name}, predictors: [{chosen}], ...}}"
            )
        self._requests.is_read = True
        name = self.name

        def read(run: Run) -> dict[str, Prediction]:
            found = run.results[name].predictions.items()
            return {prediction.modality: prediction for term, prediction in found if term.partition(".")[0] == chosen}

        return read
