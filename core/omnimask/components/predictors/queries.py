"""Base class of decoders of a query stream: the served slots, and the heads at the targets. T slots, D width."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from omnimask.component import Component
from omnimask.components.positions.trial import check_placement
from omnimask.components.predictors.base import PredictorModule
from omnimask.interfaces import Context, Encoded, Layout, Position, Run, Stream, Target, Targets, View
from omnimask.network.blocks import Stack, initialise
from omnimask.network.embed import ModalitySlots, tells_modalities
from omnimask.packed import index_tensor, ranges


@dataclasses.dataclass(frozen=True)
class Served:
    """``slots`` (n,) of a query stream served by a predictor, and their ``layout``; its parents are context sequences."""

    slots: NDArray[np.int64]
    layout: Layout


class QueryPredictor(PredictorModule, ABC):
    """Base class of predictors whose slots show a learned mask vector and their position.

    A subclass creates the blocks, passes them to :meth:`assemble`, and implements :meth:`run_blocks`.

    There is one mask vector (D,), or one for each modality of the recipe (modalities, D) if slots receive modality vectors.
    """

    reads: ClassVar[Literal["context", "query"]] = "query"
    mask_vector: nn.Parameter
    position: nn.Module

    def __init__(self, context: Context, target: Component[Target]) -> None:
        super().__init__(context, target)
        self.names = list(context.specs)

    def assemble(
        self,
        blocks: Sequence[nn.Module],
        norm: nn.Module,
        position: Component[Position],
        *,
        width: int,
        heads: int,
        modality_embedding: ModalitySlots,
    ) -> None:
        """Add the blocks, the norm before the heads, a head per modality, the position component, and the mask vectors.

        Linear layers, including those that the subclass added before, are initialized.
        """
        self.stack = Stack(blocks)
        self.norm = norm
        self.heads = self.linear_heads(width)
        initialise(self)
        self.position = position(self.block_context(width, heads))  # pyright: ignore[reportAttributeAccessIssue]
        check_placement(self.position, self.context.specs, "a decoder of masked positions", "added", "rotation")
        is_told = tells_modalities(self.context, modality_embedding)
        self.mask_vector = nn.Parameter(torch.randn(*([len(self.names)] if is_told else []), width) * 0.02)
        self.no_weight_decay = {"mask_vector"}

    def hidden(self, query: Stream) -> Tensor:
        """Return the mask vectors (T, D) of a query stream's slots."""
        if self.mask_vector.ndim == 1:
            return self.mask_vector.expand(query.layout.num_slots, -1)
        return nn.functional.embedding(query.modality, self.mask_vector)

    def served(self, query: Stream, num_parents: int, *, apart: bool = False) -> Served:
        """Return the query's slots of the served modalities, grouped by context sequence, or ``apart`` by query sequence."""
        layout = query.layout
        numbers = [self.names.index(m) for m in self.context.modalities]
        modality = np.full(layout.num_sequences, -1) if layout.modality is None else layout.modality
        # Sequences of several modalities (-1) are served by every predictor.
        chosen = np.flatnonzero(np.isin(modality, numbers) | (modality < 0))
        lengths, parent = layout.lengths[chosen], layout.parent[chosen]
        if apart:
            return Served(ranges(layout.offsets[:-1][chosen], lengths), Layout(lengths, parent))
        # The served sequences of one context sequence merge into one, possibly of several modalities.
        grouped = np.bincount(parent, weights=lengths, minlength=num_parents).astype(np.int64)
        return Served(ranges(layout.offsets[:-1][chosen], lengths), Layout(grouped, np.arange(num_parents, dtype=np.int64)))

    @abstractmethod
    def run_blocks(self, encoded: Encoded, query: Stream, served: Served) -> Tensor:
        """Return (n, D) features of the served slots."""

    def decode(self, encoded: Encoded, view: View, run: Run) -> Callable[[Tensor], Tensor]:
        query = self.stream(view)
        served = self.served(query, encoded.features.layout.num_sequences)
        x_TD = self.run_blocks(encoded, query, served)
        # Inverse of ``served.slots``, -1 for slots of other predictors.
        row = np.full(query.layout.num_slots, -1)
        row[served.slots] = np.arange(len(served.slots))
        to_row = index_tensor(row, x_TD.device)
        return lambda slots: x_TD[to_row[slots]]

    def head_input(self, features: Tensor, table: Targets) -> Tensor:
        return self.norm(features)
