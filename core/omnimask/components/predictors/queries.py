"""Base class of decoders of a query stream: the served slots, and the heads at the targets. T slots, D width."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from omnimask.component import Component
from omnimask.components.positions.trial import check_placement
from omnimask.components.predictors.base import PredictorModule
from omnimask.interfaces import Context, Encoded, Layout, Position, Prediction, Stream, Target, View
from omnimask.network.embed import ModalitySlots, tells_modalities
from omnimask.packed import index_tensor, ranges


@dataclasses.dataclass(frozen=True)
class Served:
    """``slots`` (n,) of a query stream served by a predictor, and their ``layout``, one sequence per context sequence."""

    slots: NDArray[np.int64]
    layout: Layout


class QueryPredictor(PredictorModule):
    """Base class of predictors whose slots show a learned mask vector and their position. Subclasses create the blocks.

    There is one mask vector (D,), or one for each modality of the recipe (modalities, D) if slots receive modality vectors.
    """

    mask_vector: nn.Parameter
    position: nn.Module

    def __init__(self, context: Context, target: Component[Target]) -> None:
        super().__init__(context, target)
        self.names = list(context.specs)

    def add_heads(self, norm: nn.Module, width: int) -> None:
        """Add the norm before the heads, and one head per modality."""
        self.norm = norm
        self.heads = nn.ModuleDict({m: nn.Linear(width, self.target(m).num_outputs) for m in self.context.modalities})

    def add_queries(self, position: Component[Position], width: int, heads: int, modality_embedding: ModalitySlots) -> None:
        """Add the position component for all modalities, and the mask vectors."""
        everything = dataclasses.replace(
            self.context, modalities=tuple(self.context.specs), width=width, num_heads=heads, head_width=width // heads
        )
        self.position = position(everything)  # pyright: ignore[reportAttributeAccessIssue]
        check_placement(self.position, self.context.specs, "a decoder of masked positions", "added", "rotation")
        is_told = tells_modalities(self.context, modality_embedding)
        self.mask_vector = nn.Parameter(torch.randn(*([len(self.names)] if is_told else []), width) * 0.02)
        self.no_weight_decay = {"mask_vector"}

    def hidden(self, query: Stream) -> Tensor:
        """Return the mask vectors (T, D) of a query stream's slots."""
        if self.mask_vector.ndim == 1:
            return self.mask_vector.expand(query.layout.num_slots, -1)
        return nn.functional.embedding(query.modality, self.mask_vector)

    def served(self, query: Stream, num_parents: int) -> Served:
        """Return the query's slots of the served modalities, grouped by context sequence."""
        layout = query.layout
        numbers = [self.names.index(m) for m in self.context.modalities]
        modality = np.full(layout.num_sequences, -1) if layout.modality is None else layout.modality
        chosen = np.flatnonzero(np.isin(modality, numbers) | (modality < 0))
        lengths, parent = layout.lengths[chosen], layout.parent[chosen]
        grouped = np.bincount(parent, weights=lengths, minlength=num_parents).astype(np.int64)
        return Served(ranges(layout.offsets[:-1][chosen], lengths), Layout(grouped, np.arange(num_parents, dtype=np.int64)))

    def answers(self, x_TD: Tensor, served: Served, encoded: Encoded, view: View) -> Mapping[str, Prediction]:
        """Return predictions by term from the features of the served slots."""
        query, selected = self.stream(view), self.select(view)
        row = np.full(query.layout.num_slots, -1)
        row[served.slots] = np.arange(len(served.slots))
        to_row = index_tensor(row, x_TD.device)
        return {
            self.term(m): Prediction(
                self.norm(x_TD[to_row[selected[self.term(m)].at[:, 0]]]),
                self.heads[m],
                selected[self.term(m)],
                query,
                encoded.stream,
                m,
            )
            for m in self.context.modalities
        }
