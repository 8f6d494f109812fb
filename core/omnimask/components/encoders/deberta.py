"""The encoder of DeBERTa. T slots, D width, R rows of the table of relative places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from omnimask.components.encoders.base import SelfAttentionEncoder
from omnimask.components.positions.none import NoPosition
from omnimask.interfaces import Context, Encoded, MaskedBatch, Placement, Stream
from omnimask.network.attention_plan import AttentionPlan
from omnimask.network.blocks import OutputRows, Rotation, Stack, Wanted, check_heads, encoded, initialise_normal
from omnimask.network.disentangled import DisentangledAttention, relative_rows
from omnimask.network.embed import ModalitySlots, make_modality_embedding
from omnimask.network.layers import MLP, add_branch


class DebertaBlock(nn.Module):
    """Post-norm disentangled attention and MLP.

    Args:
        width: D.
        heads: H.
        mlp_width: hidden width of the MLP.
        norm_eps: epsilon of the layer norms.
        dropout: rate on the relative table and on the outputs of both branches, during training.
    """

    compile_me = True
    branches = 2

    def __init__(self, width: int, heads: int, mlp_width: int, norm_eps: float, dropout: float) -> None:
        super().__init__()
        self.attention = DisentangledAttention(width, heads)
        self.norm_attention = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = MLP(width, mlp_width)
        self.norm_mlp = nn.LayerNorm(width, eps=norm_eps)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(
        self,
        x_TD: Tensor,
        plan: AttentionPlan,
        rotation: Rotation | None,
        table_RD: Tensor,
        context_plan: None = None,
        context_rotation: None = None,
        kept: Tensor | None = None,
        rows: OutputRows | None = None,
        *,
        with_mlp: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return (T, D); ``with_mlp`` also the output of the MLP. ``table_RD``: normalized table of relative places."""
        assert rows is None
        branch = self.dropout(self.attention.attend_with(x_TD, self.dropout(table_RD), plan))
        x_TD = self.norm_attention(add_branch(x_TD, branch, kept, 0))
        branch = self.dropout(self.mlp(x_TD))
        x_TD = self.norm_mlp(add_branch(x_TD, branch, kept, 1))
        return (x_TD, branch) if with_mlp else x_TD


class DebertaEncoder(SelfAttentionEncoder):
    """A post-norm transformer with disentangled attention over relative places (DeBERTa [0], in the form of DeBERTaV3 [1]).

    Logits have three terms: content to content, content to place and place to content. Places are signed distances of the slots'
    positions in logarithmic buckets, rows of one table that all blocks share, layer-normalized and projected by the weights of the
    content's queries and keys. Nothing is added to the embeddings. A slot without a position has the content term only. Memory
    grows with the sum of squared lengths of the sequences and with slots times rows of the table. Positions have one axis.

    Weights are initialized from N(0, 0.02), biases with zero. Attention weights are never dropped. The published model's other
    options (separate projections of places, a convolution beside the first block) and the enhanced mask decoder, which belongs to
    the predictor, are not part of it.

    Args:
        width: D, features per token.
        depth: number of blocks.
        heads: attention heads, which divide the width evenly.
        embedding_width: E of the embeddings, if it is not D; a linear map without bias to D follows, before the norm. A network
            that borrows another one's embeddings has its E.
        mlp_width: hidden width of the MLPs; defaults to 4 times ``width``.
        buckets: number of buckets of distances in either direction, half of them of a single distance each; the table has twice
            as many rows (``position_buckets``).
        max_distance: distance at which the logarithmic buckets end; larger ones share the last bucket (``max_relative_positions``).
        norm_eps: epsilon of the layer norms.
        dropout: rate on the embeddings, the table of places and the outputs of all branches, during training.
        modality_embedding: slots that receive a learned vector of their modality in recipes with several modalities: ``hidden``
            ones, which show no content, ``all`` or ``none``.

    Raises:
        ValueError: positions of a modality have several axes, or ``max_distance`` is too small for the buckets.

    [0] He et al.: DeBERTa: Decoding-enhanced BERT with Disentangled Attention, 2020. [1] He, Gao, Chen: DeBERTaV3: Improving
    DeBERTa using ELECTRA-Style Pre-Training with Gradient-Disentangled Embedding Sharing, 2021.
    """

    name = "deberta"
    smoke: ClassVar[Any] = {"width": 32, "depth": 2, "heads": 2, "mlp_width": 64}
    num_summary = 0
    embedding_modules: ClassVar[Sequence[str]] = ("norm",)

    def __init__(
        self,
        context: Context,
        *,
        width: Annotated[int, Field(gt=0)],
        depth: Annotated[int, Field(gt=0)],
        heads: Annotated[int, Field(gt=0)],
        embedding_width: Annotated[int, Field(gt=0)] | None = None,
        mlp_width: Annotated[int, Field(gt=0)] | None = None,
        buckets: Annotated[int, Field(ge=4)] = 256,
        max_distance: Annotated[int, Field(gt=0)] = 512,
        norm_eps: Annotated[float, Field(gt=0)] = 1e-7,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        modality_embedding: ModalitySlots = "hidden",
    ) -> None:
        super().__init__()
        _check(context, buckets, max_distance)
        check_heads(width, heads)
        self.width, self.depth, self.buckets, self.max_distance = width, depth, buckets, max_distance
        self.embedding_width = embedded = embedding_width or width
        self.project = None if embedded == width else nn.Linear(embedded, width, bias=False)
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.stack = Stack([DebertaBlock(width, heads, mlp_width or 4 * width, norm_eps, dropout) for _ in range(depth)])
        initialise_normal(self)
        self.places = nn.Parameter(nn.init.normal_(torch.empty(2 * buckets, width), std=0.02))
        self.norm_places = nn.LayerNorm(width, eps=norm_eps)
        self.position = NoPosition(context)
        self.modalities = make_modality_embedding(context, embedded, modality_embedding)

    def encode(self, x_TD: Tensor, placement: Placement, stream: Stream, batch: MaskedBatch, wanted: Wanted) -> Encoded:
        x_TD = x_TD if self.project is None else self.project(x_TD)
        x_TD = self.dropout(self.norm(x_TD))
        plan = AttentionPlan.of(stream, relation=relative_rows(stream, self.buckets, self.max_distance))
        # The last block computes all slots, as with any bias of pairs.
        x_TD, taps = self.stack(x_TD, plan, context=self.norm_places(self.places), wanted=wanted)
        return encoded(x_TD, stream, taps)


def _check(context: Context, buckets: int, max_distance: int) -> None:
    for name in context.modalities:
        if (axes := context.specs[name].axes) > 1:
            raise ValueError(
                f"encoder deberta: positions of {name} have {axes} axes, and signed distances need one; choose encoder transformer"
            )
    if max_distance <= buckets // 2 + 1:
        raise ValueError(
            f"encoder deberta: max_distance {max_distance} leaves no logarithmic buckets beyond {buckets // 2}, half of buckets "
            f"{buckets}; set max_distance above {buckets // 2 + 1}"
        )
