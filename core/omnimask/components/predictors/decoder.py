"""A light decoder over visible features and hidden positions. T slots, S sequences, D width, R summary vectors."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from omnimask.component import Component, named
from omnimask.components.predictors.queries import QueryPredictor, Served
from omnimask.interfaces import Context, Encoded, Layout, Position, Stream, Target
from omnimask.network.attention_plan import AttentionPlan
from omnimask.network.blocks import Block, OutputRows, check_heads
from omnimask.network.embed import ModalitySlots, make_modality_embedding, with_modality
from omnimask.network.layers import MLPKind, NormKind, make_norm
from omnimask.packed import index_tensor, interleave, ranges


class Decoder(QueryPredictor):
    """Decoder over the encoder's features and a mask vector per hidden position, with answers there (MAE [0]).

    Features of visible tokens are projected to the decoder's width. Every slot of the query stream shows a learned mask vector and
    its position. The modalities of this predictor are decoded together, without those of other predictors. The last block computes
    hidden positions only.

    Args:
        target: correct answers and their loss.
        width, depth, heads: of the decoder's transformer.
        mlp_ratio: hidden width of its MLPs in units of ``width``.
        position: position component of its slots.
        norm, norm_eps: kind (``layer`` or ``rms``) and epsilon of its norms.
        mlp: ``gelu`` or ``swiglu``, as in the encoder ``transformer``.
        qk_norm: normalizes queries and keys, as in the encoder.
        apart: every query sequence (a target block of ``multi_block``) is decoded by itself, with the visible tokens of its context
            sequence; otherwise all of one context sequence are decoded together. I-JEPA's predictor [1] is apart.
        modality_embedding: in recipes with several modalities, each has its own mask vector, unless this is ``none``; with ``all``,
            a learned vector of their modality is added to the visible slots, too.

    [0] He et al.: Masked Autoencoders Are Scalable Vision Learners, 2021. [1] Assran et al.: Self-Supervised Learning from Images
    with a Joint-Embedding Predictive Architecture, 2023.
    """

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
        norm: NormKind = "layer",
        norm_eps: Annotated[float, Field(gt=0)] = 1e-6,
        mlp: MLPKind = "gelu",
        qk_norm: bool = False,
        apart: bool = False,
        modality_embedding: ModalitySlots = "hidden",
    ) -> None:
        super().__init__(context, target)
        check_heads(width, heads)
        self.apart = apart
        self.project = nn.Linear(context.width, width)
        blocks = [
            Block(width, heads, mlp_ratio=mlp_ratio, norm_eps=norm_eps, norm=norm, mlp=mlp, qk_norm=qk_norm) for _ in range(depth)
        ]
        final_norm = make_norm(norm, width, norm_eps)
        self.assemble(blocks, final_norm, position, width=width, heads=heads, modality_embedding=modality_embedding)
        self.modalities = make_modality_embedding(context, width, modality_embedding)

    def run_blocks(self, encoded: Encoded, query: Stream, served: Served) -> Tensor:
        device, sequences = encoded.features.data.device, served.layout.num_sequences
        visible = with_modality(self.project(encoded.at(self.context.layer)), encoded.stream, self.modalities)
        at_visible, at_hidden = (self.position(stream).unbiased("predictor decoder") for stream in (encoded.stream, query))
        hidden = self.hidden(query).to(visible.dtype)
        if at_visible.added is not None and at_hidden.added is not None:
            visible, hidden = visible + at_visible.added, hidden + at_hidden.added
        slots = index_tensor(served.slots, device)
        summary = torch.zeros_like(visible[:0]) if encoded.summary is None else self.project(encoded.summary.flatten(0, 1))
        read, rows, summary_rows = self._read(encoded, served)
        count = 0 if encoded.summary is None else encoded.summary.shape[1]
        # Each sequence of the decoder: R summary vectors, the visible tokens, then the hidden positions.
        parts = [_at(summary, summary_rows), _at(visible, rows), hidden[slots]]
        lengths = (np.full(sequences, count), read.lengths, served.layout.lengths)
        joint, order = interleave([Layout(n, np.arange(sequences)) for n in lengths])
        index = index_tensor(order, device)
        rotation = None
        if at_visible.rotation is not None and at_hidden.rotation is not None:
            # Summary vectors have no position: rotation by angle 0 (cos 1, sin 0).
            rotation = tuple(
                torch.cat([torch.full_like(v[:1], still).expand(sequences * count, -1), _at(v, rows), h[slots]])[index]
                for v, h, still in zip(at_visible.rotation, at_hidden.rotation, (1.0, 0.0), strict=True)
            )
        first = sequences * count + read.num_slots
        # Queries of the last block: the joint places of the hidden positions, the last of the concatenated parts.
        asked = OutputRows(index_tensor(np.argsort(order)[first:], device), AttentionPlan(served.layout, joint))
        x_TD, _ = self.stack(torch.cat(parts)[index], AttentionPlan(joint), rotation, rows=asked)
        return x_TD

    def served(self, query: Stream, num_parents: int, *, apart: bool = False) -> Served:
        return super().served(query, num_parents, apart=self.apart)

    def _read(self, encoded: Encoded, served: Served) -> tuple[Layout, Tensor | None, Tensor | None]:
        """Return the layout of the visible slots by decoded sequence, the slots, and the rows of summaries; None: as given."""
        layout = encoded.features.layout
        if not self.apart:
            return layout, None, None
        device, parent = encoded.features.data.device, served.layout.parent
        lengths = layout.lengths[parent]
        count = 0 if encoded.summary is None else encoded.summary.shape[1]
        summaries = (parent[:, None] * count + np.arange(count)).reshape(-1)
        slots = ranges(layout.offsets[:-1][parent], lengths)
        return Layout(lengths, parent), index_tensor(slots, device), index_tensor(summaries, device)


def _at(values: Tensor, rows: Tensor | None) -> Tensor:
    return values if rows is None else values[rows]
