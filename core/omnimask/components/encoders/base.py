"""Base class of encoders with self-attention only. T slots, D width."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from omnimask.interfaces import Encoded, MaskedBatch, Module, Packed, Placement, Stream
from omnimask.network.blocks import Wanted
from omnimask.network.embed import ModalityEmbedding, with_modality


class SelfAttentionEncoder(Module, ABC):
    """Base class of encoders whose slots attend to slots of the same stream only. A subclass implements ``encode``.

    ``name`` is the encoder's name in recipes. The subclass's constructor sets ``position``, the position component, and
    ``modalities``, the modality vectors or None.
    """

    name: ClassVar[str]
    position: Any
    modalities: ModalityEmbedding | None

    def forward(
        self,
        embedded: Packed,
        stream: Stream,
        batch: MaskedBatch,
        *,
        context: Encoded | None = None,
        layers: Sequence[int] = (),
        only_asked: bool = False,
        mlps: Sequence[int] = (),
    ) -> Encoded:
        """Return the features of a stream.

        Raises:
            ValueError: there is a ``context``.
        """
        if context is not None:
            raise ValueError(f"encoder {self.name} has no cross-attention; use an encoder with cross-attention to read a context")
        placement: Placement = self.position(stream)
        x_TD = with_modality(embedded.data, stream, self.modalities)
        return self.encode(x_TD, placement, stream, batch, Wanted(layers, mlps, only_asked))

    @abstractmethod
    def encode(self, x_TD: Tensor, placement: Placement, stream: Stream, batch: MaskedBatch, wanted: Wanted) -> Encoded:
        """Return features of the embeddings (T, E), to which modality vectors are added but positions are not."""
