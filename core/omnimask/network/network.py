"""Networks: embeddings and an encoder behind them. T slots, P store tokens, D width, E width of embeddings."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from omnimask.interfaces import Embedding, Encoded, Encoder, MaskedBatch, Packed, Stream
from omnimask.network.embed import embed, embed_features


@runtime_checkable
class FollowsWeights(Protocol):
    """Capability of a module of a network that follows trained weights, and has none of its own to train."""

    def settle(self) -> None:
        """Start from the present weights. Called when they have been initialized."""
        ...

    def after_update(self, progress: float) -> None:
        """Follow one update of the weights, at a share of the run in [0, 1]."""
        ...


class Network(nn.Module):
    """The embeddings of modalities, and an encoder behind them.

    Args:
        embeddings: by modality.
        encoder: embedded slots -> features.
        embedding_width: E of the embeddings; by default the width that the encoder takes. A linear map follows if they differ.
    """

    def __init__(self, embeddings: Mapping[str, nn.Module], encoder: nn.Module, *, embedding_width: int | None = None) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict(embeddings)
        self.encoder = encoder
        taken = width_taken(encoder)
        self.embedding_width = embedding_width or taken
        self.adapt = None if self.embedding_width == taken else nn.Linear(self.embedding_width, taken)

    @property
    def width(self) -> int:
        """D of the features."""
        return cast(Encoder, self.encoder).width

    @property
    def skips_unasked(self) -> bool:
        """Whether the encoder can compute its last layer for asked slots alone."""
        return _accepts(self.encoder, "only_asked")

    @property
    def returns_mlps(self) -> bool:
        """Whether the encoder can return the outputs of its MLPs."""
        return _accepts(self.encoder, "mlps")

    def forward(
        self,
        stream: Stream,
        batch: MaskedBatch,
        *,
        features: Tensor | None = None,
        context: Encoded | None = None,
        layers: Sequence[int] = (),
        mlps: Sequence[int] = (),
        only_asked: bool = False,
    ) -> Encoded:
        """Return features of a stream.

        Args:
            stream: of a view.
            batch: of the stream.
            features: (P, E) shown by slots with content instead of their embeddings.
            context: features that the encoder attends to.
            layers: blocks whose outputs are returned.
            mlps: blocks whose MLP outputs are returned; requires :attr:`returns_mlps`.
            only_asked: whether features that no predictor reads are skipped; requires :attr:`skips_unasked`.
        """
        embeddings = cast(Mapping[str, Embedding], self.embeddings)
        if features is None:
            embedded = embed(stream, batch, embeddings, self.embedding_width)
        else:
            embedded = embed_features(stream, batch, embeddings, features)
        if self.adapt is not None:
            embedded = self.adapt(embedded)
        more: dict[str, Any] = {"mlps": mlps} if mlps else {}
        if only_asked:
            more["only_asked"] = True
        encoder = cast(Encoder, self.encoder)
        return encoder(Packed(embedded, stream.layout), stream, batch, context=context, layers=layers, **more)


class UntrainedNetwork(Network):
    """A copy of a network, of which nothing is trained. It is always in evaluation mode.

    Args:
        source: the network.
        modalities: to copy the embeddings of.
    """

    is_trained: ClassVar[bool] = False

    def __init__(self, source: Network, modalities: Sequence[str]) -> None:
        nn.Module.__init__(self)
        self.embeddings = nn.ModuleDict({name: copy.deepcopy(source.embeddings[name]) for name in modalities})
        self.encoder = copy.deepcopy(source.encoder)
        self.embedding_width = source.embedding_width
        self.adapt = copy.deepcopy(source.adapt)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)

    def pairs(self, source: Network) -> list[tuple[Tensor, Tensor]]:
        """Return the parameters with those of a network of equal form, this rank's shares if they are sharded."""
        own, theirs = ([one.embeddings[name] for name in self.embeddings] for one in (self, source))
        parts = [*zip(own, theirs, strict=True), (self.encoder, source.encoder)]
        if self.adapt is not None and source.adapt is not None:
            parts.append((self.adapt, source.adapt))
        return [
            (_local(one), _local(other))
            for mine, his in parts
            for one, other in zip(mine.parameters(), his.parameters(), strict=True)
        ]

    @torch.no_grad()
    def copy_from(self, source: Network) -> None:
        """Take the present weights of a network of equal form."""
        for own, theirs in self.pairs(source):
            own.copy_(theirs)


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor.detach()


def width_taken(encoder: object) -> int:
    """Return the width of the embeddings that an encoder takes."""
    return getattr(encoder, "embedding_width", None) or cast(Encoder, encoder).width


def _accepts(encoder: nn.Module, keyword: str) -> bool:
    return keyword in inspect.signature(encoder.forward).parameters


class CorrectedEmbedding(nn.Module):
    """Another network's embedding without gradient, plus a correction of its own, zero at first.

    With gradient-disentangled sharing [0] the owner's loss alone moves the shared table, and this network learns how it differs.

    Args:
        source: the other network's, linear in its parameters.

    [0] He et al.: DeBERTaV3, 2021.
    """

    def __init__(self, source: nn.Module) -> None:
        super().__init__()
        # A tuple keeps the other network's embedding out of this module's parameters.
        self._source = (source,)
        self.correction = copy.deepcopy(source)
        for parameter in self.correction.parameters():
            nn.init.zeros_(parameter)
        self.no_weight_decay = {f"correction.{name}" for name in getattr(source, "no_weight_decay", ())}

    @property
    def is_local(self) -> bool:
        return bool(self._source[0].is_local)

    @property
    def weight(self) -> Tensor:
        """The rows of a table of ids, for tied heads."""
        return cast(Tensor, self._source[0].weight).detach() + cast(Tensor, self.correction.weight)

    def forward(self, content: Tensor) -> Tensor:
        return self._sum("__call__", content)

    def ids(self, literal: Tensor) -> Tensor:
        return self._sum("ids", literal)

    def _sum(self, method: str, value: Tensor) -> Tensor:
        with torch.no_grad():
            shared = getattr(self._source[0], method)(value)
        return shared + getattr(self.correction, method)(value)
