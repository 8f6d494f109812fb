"""A weak decoder that reads one vector per sequence. T slots, S sequences, D width, N targets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from omnimask.component import Component, named
from omnimask.components.encoders.bert import BertBlock
from omnimask.components.positions.trial import check_placement
from omnimask.components.predictors.mlm import MaskedLM
from omnimask.components.predictors.sampled_visibility import AskingBlock, hiding
from omnimask.interfaces import Context, Encoded, Layout, Position, Run, Stream, Target, View
from omnimask.network.attention_plan import AttentionPlan
from omnimask.network.blocks import OutputRows, Rotation, Stack, check_heads, initialise_normal
from omnimask.network.embed import ModalitySlots, embed, make_modality_embedding, with_modality
from omnimask.network.layers import MLP
from omnimask.network.pooling import SequencePool, check_pool, pooled
from omnimask.packed import group_by_parent, index_tensor, interleave


@dataclasses.dataclass(frozen=True)
class _Joint:
    """A query stream's slots joined with the vector of each sequence, in one stream.

    ``order`` gathers it from the S vectors followed by the T slots. ``rows`` (T,) are the places of the slots in it, ``vectors``
    (S',) those of the vectors.
    """

    layout: Layout
    order: Tensor
    rows: Tensor
    vectors: Tensor


class Bottleneck(MaskedLM):
    """Reconstruction of a sequence from a single vector and little else (RetroMAE [0], RetroMAE-2 [1]).

    This forces information into the vector.

    The decoder reads another view of the same sample (``query: NAME`` beside its options), embedded with the encoder's own tables.
    The encoder's vector replaces the first slot if it is that slot's (``pool: first``), else it precedes the sequence. One block
    like BERT's is followed by the output layer of ``mlm`` at the view's targets.

    With ``visibility`` it is the enhanced decoding of [0]: each slot's query is the vector and its position alone. It attends to
    the vector and to a random share of the other slots' embeddings, never to itself. Every token can then be a target, and the view
    shows them all: ``{masker: {name: random, ratio: 1.0}, corruptor: {name: keep}}``. The random choice depends on the sample's
    draw alone.

    Serves any modality; continuous tokens require ``tied: false`` and another target.

    Args:
        target: correct answers and their loss.
        depth: number of blocks.
        heads: their attention heads.
        mlp_width: hidden width of their MLPs; defaults to 4 times the encoder's width.
        visibility: share of the other slots visible to a slot in enhanced decoding. None: slots show the view's content and see
            each other.
        pool: the vector: of the first slot, the mean of all slots, or the encoder's summary tokens; auto: the summary if available,
            else the first slot.
        project: whether to apply a linear layer, GELU and a norm between the encoder's vector and the decoder (as in Starbucks).
        position: position component of the decoder's slots.
        dropout: rate on the embeddings and on the branches' outputs, during training.
        tied: whether output weights are tied to the embedding, or are the head's own.
        bias: whether the linear layer and the norm before the logits have biases; the logits have one.
        norm_eps: epsilon of the norms.
        modality_embedding: slots that receive a learned vector of their modality in recipes with several modalities: ``hidden``
            ones, which show no content, ``all`` or ``none``.

    [0] Xiao, Liu, Shao, Cao: RetroMAE: Pre-Training Retrieval-oriented Language Models Via Masked Auto-Encoder, 2022.
    [1] Liu, Xiao, Shao, Cao: RetroMAE-2: Duplex Masked Auto-Encoder For Pre-Training Retrieval-Oriented Language Models, 2023.
    """

    reads: ClassVar[Literal["context", "query"]] = "query"
    smoke: ClassVar[Any] = {"heads": 2, "mlp_width": 64}

    def __init__(
        self,
        context: Context,
        *,
        target: Component[Target] = named("target", "ids"),  # noqa: B008
        depth: Annotated[int, Field(gt=0)] = 1,
        heads: Annotated[int, Field(gt=0)],
        mlp_width: Annotated[int, Field(gt=0)] | None = None,
        visibility: Annotated[float, Field(gt=0, le=1)] | None = None,
        pool: SequencePool = "auto",
        project: bool = False,
        position: Component[Position] = named("position", "learned"),  # noqa: B008
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        tied: bool = True,
        bias: bool = True,
        norm_eps: Annotated[float, Field(gt=0)] = 1e-12,
        modality_embedding: ModalitySlots = "hidden",
    ) -> None:
        super().__init__(context, target=target, tied=tied, bias=bias, norm_eps=norm_eps)
        check_pool(pool, context.summary)
        self.reads_asked, self.visibility, self.heads_of_blocks = False, visibility, heads
        self.pool: SequencePool = pool
        self.needs_noise = visibility is not None
        width = context.width
        check_heads(width, heads)
        hidden = mlp_width or 4 * width
        # The embeddings are the pass's; a tuple keeps them out of this module's parameters.
        self._embeddings = (context.embeddings,)
        self.project = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width, eps=norm_eps)) if project else None
        self.norm_input = nn.LayerNorm(width, eps=norm_eps)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        make = BertBlock if visibility is None else AskingBlock
        self.blocks = Stack([make(width, heads, MLP(width, hidden), norm_eps, dropout) for _ in range(depth)])
        initialise_normal(self.blocks)
        if self.project is not None:
            initialise_normal(self.project)
        self.position = position(self.block_context(width, heads))  # pyright: ignore[reportAttributeAccessIssue]
        check_placement(self.position, context.specs, "predictor bottleneck", "added", "rotation")
        self.modalities = make_modality_embedding(context, width, modality_embedding)

    def decode(self, encoded: Encoded, view: View, run: Run) -> Callable[[Tensor], Tensor]:
        decoded, row = self._decode(encoded, self.stream(view), run)
        return lambda slots: decoded[row[slots]]

    def vector(self, encoded: Encoded) -> Tensor:
        """Return the vector (S, D) given to the decoder for each sequence."""
        vector = pooled(encoded, self.pool, self.context.layer)
        return vector if self.project is None else self.project(vector)

    def _decode(self, encoded: Encoded, query: Stream, run: Run) -> tuple[Tensor, Tensor]:
        """Return features of the query's slots, and (T,) the row of each of them."""
        if query.layout.attention != "full":
            raise ValueError(
                f"predictor bottleneck: the decoded view has {query.layout.attention} attention, but full "
                "attention is needed; use a corruptor that keeps the order (mask_token, keep)"
            )
        vector = self.vector(encoded).float()
        joint = self._joint(encoded, query, vector.device)
        placement = self.position(query).unbiased("predictor bottleneck")
        shown = embed(query, run.batch, self._embeddings[0], self.context.width)
        added = torch.zeros_like(shown) if placement.added is None else placement.added
        shown = with_modality(shown, query, self.modalities)
        shown = self.dropout(self.norm_input(shown + added))
        # (T, D) if vectors replace first slots, else (S + T, D).
        x_TD = torch.cat([vector, shown])[joint.order]
        rotation = _rotation(placement.rotation, len(vector), joint.order)
        if self.visibility is None:
            return self._seeing_each_other(x_TD, joint, query, rotation)
        told = added if self.modalities is None else added + self.modalities.of(query)
        # A query holds its position and the vector, but nothing of the slot's own token.
        places = torch.cat([torch.zeros_like(vector), told])[joint.order]
        owner = np.repeat(np.arange(joint.layout.num_sequences), joint.layout.lengths)
        asking = self.dropout(self.norm_input(vector[index_tensor(owner, vector.device)] + places))
        plan = AttentionPlan(joint.layout, bias=self._drawn(query, joint))
        rotations = None if rotation is None else (rotation, rotation)
        for block in self.blocks.blocks:
            asking = block(asking, x_TD, plan, rotations)
        return asking, joint.rows

    def _seeing_each_other(self, x_TD: Tensor, joint: _Joint, query: Stream, rotation: Rotation | None) -> tuple[Tensor, Tensor]:
        """Run blocks like BERT's, the last one for asked slots only."""
        plan, asked = AttentionPlan(joint.layout), query.asked
        if asked is None:
            return self.blocks(x_TD, plan, rotation)[0], joint.rows
        by_parent = group_by_parent(dataclasses.replace(query.layout, lengths=asked.layout.lengths), joint.layout.num_sequences)
        rows = OutputRows(joint.rows[asked.slots], AttentionPlan(by_parent, joint.layout))
        return self.blocks(x_TD, plan, rotation, rows=rows)[0], asked.row

    def _joint(self, encoded: Encoded, query: Stream, device: torch.device) -> _Joint:
        sequences, slots = encoded.stream.layout.num_sequences, query.layout.num_slots
        _check_apart(query.layout)
        grouped = group_by_parent(query.layout, sequences)
        is_first = self.pool == "first" or (self.pool == "auto" and (encoded.summary is None or self.context.layer is not None))
        if is_first:
            order, rows = np.arange(sequences, sequences + slots), np.arange(slots)
            held = np.flatnonzero(grouped.lengths)
            vectors = grouped.offsets[:-1][held]
            # The first slot of each non-empty sequence shows the vector instead.
            order[vectors] = held
            layout = grouped
        else:
            layout, order = interleave([Layout(np.ones(sequences, np.int64), grouped.parent), grouped])
            # Inverse permutation: the joint place of each vector and slot.
            place = np.argsort(order)
            vectors, rows = place[:sequences], place[sequences:]
        return _Joint(layout, *(index_tensor(index, device) for index in (order, rows, vectors)))

    def _drawn(self, query: Stream, joint: _Joint) -> Any:
        """Return the bias that hides randomly chosen slots from each slot."""
        assert self.visibility is not None
        device = joint.order.device
        noise = torch.zeros(joint.layout.num_slots, dtype=torch.float64, device=device)
        if query.noise is not None:
            noise = noise.index_copy(0, joint.rows, torch.as_tensor(query.noise, device=device).double())
        elif self.training:
            noise = torch.rand(len(noise), dtype=torch.float64, device=device)
        # Places count from the start of a sequence, so that the choice does not depend on packing.
        first = np.repeat(joint.layout.offsets[:-1], joint.layout.lengths)
        place = index_tensor(np.arange(joint.layout.num_slots) - first, device)
        is_vector = torch.zeros(len(noise), dtype=torch.bool, device=device).index_fill(0, joint.vectors, True)
        return hiding(noise, place, is_vector, self.visibility, self.heads_of_blocks)


def _check_apart(layout: Layout) -> None:
    """Raise ``ValueError`` if several sequences of one modality are decoded from one vector: each would see what another hides."""
    modality = np.zeros(layout.num_sequences, np.int64) if layout.modality is None else layout.modality
    held = np.flatnonzero(layout.lengths)
    if len(np.unique(np.stack([layout.parent[held], modality[held]]), axis=1).T) < len(held):
        raise ValueError(
            "predictor bottleneck decodes all sequences of one vector together, so that each would show what another hides; set "
            "the repeat and split of the decoded view for the encoded view too"
        )


def _rotation(rotation: Rotation | None, vectors: int, order: Tensor) -> Rotation | None:
    """Return the rotation of the joint slots; vectors are not rotated."""
    if rotation is None:
        return None
    still = (torch.ones_like(rotation[0][:1]), torch.zeros_like(rotation[1][:1]))
    cos, sin = (torch.cat([none.expand(vectors, -1), part])[order] for none, part in zip(still, rotation, strict=True))
    return cos, sin
