"""A light decoder over visible features and hidden places together. T slots, S sequences, D width, R summary vectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from omnimask.attention import AttentionPlan
from omnimask.blocks import Block, Stack, check_heads, initialise
from omnimask.component import Component, named
from omnimask.interfaces import Context, Encoded, Layout, Position, Prediction, Run, Stream, Target, View
from omnimask.packed import index_tensor, interleave, ranges
from omnimask.predictors.base import PredictorModule


class Decoder(PredictorModule):
    """Attends over the encoder's features and one mask vector per hidden place, and answers at those places (MAE [0]).

    The features of the visible tokens are projected to the decoder's width; every slot of the query stream shows a learned mask
    vector and its position. The modalities that this predictor serves are decoded together, those of other predictors not at all.

    Args:
        target: what is right, and which loss measures it.
        width, depth, heads: of the decoder's transformer.
        mlp_ratio: hidden width of its MLPs in units of ``width``.
        position: how its slots know their place.
        norm_eps: epsilon of its layer norms.

    [0] He et al.: Masked Autoencoders Are Scalable Vision Learners, 2021.
    """

    reads: ClassVar[Literal["context", "query"]] = "query"
    smoke: ClassVar[Any] = {"width": 32, "depth": 1, "heads": 2}

    def __init__(
        self,
        context: Context,
        *,
        target: Component[Target],
        width: Annotated[int, Field(gt=0)] = 512,
        depth: Annotated[int, Field(gt=0)] = 8,
        heads: Annotated[int, Field(gt=0)] = 16,
        mlp_ratio: Annotated[float, Field(gt=0)] = 4.0,
        position: Component[Position] = named("position", "sincos"),  # noqa: B008
        norm_eps: Annotated[float, Field(gt=0)] = 1e-6,
    ) -> None:
        super().__init__(context, target)
        head_width = check_heads(width, heads)
        self.project = nn.Linear(context.width, width)
        self.stack = Stack([Block(width, heads, mlp_ratio=mlp_ratio, norm_eps=norm_eps) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.heads = nn.ModuleDict({m: nn.Linear(width, self.target(m).num_outputs) for m in context.modalities})
        initialise(self)
        everything = dataclasses.replace(
            context, modalities=tuple(context.specs), width=width, num_heads=heads, head_width=head_width
        )
        self.position = position(everything)
        self.mask_vector = nn.Parameter(torch.randn(width) * 0.02)
        self.no_weight_decay = {"mask_vector"}

    def predict(self, encoded: Encoded, view: View, run: Run) -> Mapping[str, Prediction]:
        query = self.stream(view)
        place, layout = self._served(query)
        x_TD = self._decode(encoded, query, place, layout)
        row = np.full(query.layout.num_slots, -1)
        row[place] = np.arange(len(place))
        to_row = index_tensor(row, x_TD.device)
        selected = self.select(view)
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

    def _served(self, query: Stream) -> tuple[np.ndarray, Layout]:
        """Slots of the query's sequences of the modalities served, and their layout."""
        layout = query.layout
        names = list(self.context.specs)
        numbers = [names.index(m) for m in self.context.modalities]
        modality = np.full(layout.num_sequences, -1) if layout.modality is None else layout.modality
        served = np.flatnonzero(np.isin(modality, numbers) | (modality < 0))
        part = Layout(layout.lengths[served], layout.parent[served])
        return ranges(layout.offsets[:-1][served], part.lengths), part

    def _decode(self, encoded: Encoded, query: Stream, place: np.ndarray, layout: Layout) -> Tensor:
        """(T of the served query slots, D)."""
        device, sequences = encoded.features.data.device, encoded.features.layout.num_sequences
        visible = self.project(encoded.at(self.context.layer))
        at_visible, at_hidden = self.position(encoded.stream), self.position(query)
        hidden = self.mask_vector.to(visible.dtype).expand(query.layout.num_slots, -1)
        if at_visible.added is not None and at_hidden.added is not None:
            visible, hidden = visible + at_visible.added, hidden + at_hidden.added
        slots = index_tensor(place, device)
        grouped = np.bincount(layout.parent, weights=layout.lengths, minlength=sequences).astype(np.int64)
        count = 0 if encoded.summary is None else encoded.summary.shape[1]
        parts = [torch.zeros_like(visible[:0]) if encoded.summary is None else self.project(encoded.summary.flatten(0, 1))]
        parts += [visible, hidden[slots]]
        lengths = (np.full(sequences, count), encoded.features.layout.lengths, grouped)
        joint, order = interleave([Layout(n, np.arange(sequences)) for n in lengths])
        index = index_tensor(order, device)
        rotation = None
        if at_visible.rotation is not None and at_hidden.rotation is not None:
            rotation = tuple(
                torch.cat([torch.full_like(v[:1], still).expand(sequences * count, -1), v, h[slots]])[index]
                for v, h, still in zip(at_visible.rotation, at_hidden.rotation, (1.0, 0.0), strict=True)
            )
        x_TD, _ = self.stack(torch.cat(parts)[index], AttentionPlan(joint), rotation)
        first = sequences * count + encoded.features.layout.num_slots
        return x_TD[index_tensor(np.argsort(order)[first:], device)]
