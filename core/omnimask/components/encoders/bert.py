"""The encoder of BERT and close relatives. T slots, D width."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from omnimask.component import Component, named
from omnimask.components.encoders.base import SelfAttentionEncoder
from omnimask.interfaces import Context, Encoded, MaskedBatch, Placement, Position, Stream
from omnimask.network.attention_plan import AttentionPlan
from omnimask.network.blocks import (
    OutputRows,
    Rotation,
    SelfAttention,
    Stack,
    Wanted,
    asked_rows,
    check_heads,
    encoded,
    initialise_normal,
)
from omnimask.network.embed import ModalitySlots, TypeEmbedding, make_modality_embedding
from omnimask.network.layers import GLU, MLP, add_branch


class BertBlock(nn.Module):
    """Post-norm attention and MLP: each output is added to its input and then normalized.

    Args:
        width: D.
        heads: H.
        mlp: maps (T, D) to (T, D).
        norm_eps: epsilon of the layer norms.
        dropout: rate on the outputs of both branches, during training.
    """

    compile_me = True
    branches = 2

    def __init__(self, width: int, heads: int, mlp: nn.Module, norm_eps: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = SelfAttention(width, heads)
        self.norm_attention = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = mlp
        self.norm_mlp = nn.LayerNorm(width, eps=norm_eps)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(
        self,
        x_TD: Tensor,
        plan: AttentionPlan,
        rotation: Rotation | None = None,
        context: None = None,
        context_plan: None = None,
        context_rotation: None = None,
        kept: Tensor | None = None,
        rows: OutputRows | None = None,
        *,
        with_mlp: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return (T, D), or (R, D) if ``rows`` is given; ``with_mlp`` also the output of the MLP. ``kept`` (2, T, 1) factors of the
        branches."""
        branch = self.dropout(self.attention(x_TD, plan, rotation, rows))
        x_TD = self.norm_attention(add_branch(x_TD if rows is None else x_TD[rows.index], branch, kept, 0))
        branch = self.dropout(self.mlp(x_TD))
        x_TD = self.norm_mlp(add_branch(x_TD, branch, kept, 1))
        return (x_TD, branch) if with_mlp else x_TD


class BertEncoder(SelfAttentionEncoder):
    """A post-norm transformer with a norm after the embeddings (BERT [0], RoBERTa [1]).

    With ``position: {name: alibi}`` and ``mlp: geglu`` it is MosaicBERT's [2], whose gate and value have no bias. Weights are
    initialized from N(0, 0.02), biases with zero. Attention weights are never dropped: the published models' rate of 0.1 has no
    kernel for packed sequences, and later work trains without it.

    Args:
        width: D, features per token.
        depth: number of blocks.
        heads: attention heads, which divide the width evenly.
        embedding_width: E of the embeddings, their positions, types and norm, if it is not D; a linear map to D follows (ELECTRA
            [3]). A network that borrows another one's embeddings has its E.
        mlp_width: hidden width of the MLPs, for ``geglu`` that of the gate; defaults to 4 times ``width``.
        mlp: ``gelu`` or ``geglu``.
        position: position component.
        types: number of learned vectors for the kind of text (BERT's token types), one of which is added to every slot; 0: none.
        type_field: token field with the type; slots without a token have type 0.
        norm_eps: epsilon of the layer norms.
        dropout: rate on the embeddings and on the outputs of all branches, during training.
        modality_embedding: slots that receive a learned vector of their modality in recipes with several modalities: ``hidden``
            ones, which show no content, ``all`` or ``none``.

    [0] Devlin et al.: BERT, 2018. [1] Liu et al.: RoBERTa, 2019. [2] Portes et al.: MosaicBERT, 2023. [3] Clark et
    al.: ELECTRA, 2020.
    """

    name = "bert"
    smoke: ClassVar[Any] = {"width": 32, "depth": 2, "heads": 2, "mlp_width": 64}
    num_summary = 0
    embedding_modules: ClassVar[Sequence[str]] = ("norm", "types", "position")

    def __init__(
        self,
        context: Context,
        *,
        width: Annotated[int, Field(gt=0)],
        depth: Annotated[int, Field(gt=0)],
        heads: Annotated[int, Field(gt=0)],
        embedding_width: Annotated[int, Field(gt=0)] | None = None,
        mlp_width: Annotated[int, Field(gt=0)] | None = None,
        mlp: Literal["gelu", "geglu"] = "gelu",
        position: Component[Position] = named("position", "learned"),  # noqa: B008
        types: Annotated[int, Field(ge=0)] = 0,
        type_field: str = "document",
        norm_eps: Annotated[float, Field(gt=0)] = 1e-12,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        modality_embedding: ModalitySlots = "hidden",
    ) -> None:
        super().__init__()
        self.width, self.depth = width, depth
        head_width, hidden = check_heads(width, heads), mlp_width or 4 * width
        make = MLP if mlp == "gelu" else _geglu
        self.embedding_width = embedded = embedding_width or width
        self.norm = nn.LayerNorm(embedded, eps=norm_eps)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.stack = Stack([BertBlock(width, heads, make(width, hidden), norm_eps, dropout) for _ in range(depth)])
        self.project = None if embedded == width else nn.Linear(embedded, width)
        initialise_normal(self)
        self.types = TypeEmbedding(context, types, embedded, type_field) if types else None
        self.position = position(dataclasses.replace(context, width=embedded, num_heads=heads, head_width=head_width))
        self.modalities = make_modality_embedding(context, embedded, modality_embedding)

    def encode(self, x_TD: Tensor, placement: Placement, stream: Stream, batch: MaskedBatch, wanted: Wanted) -> Encoded:
        x_TD = x_TD if self.types is None else x_TD + self.types(stream, batch)
        x_TD = self.dropout(self.norm(x_TD if placement.added is None else x_TD + placement.added))
        x_TD = x_TD if self.project is None else self.project(x_TD)
        # A bias is defined for pairs of one stream's slots, and the asked slots are planned as another layout.
        rows = asked_rows(stream, wanted.only_asked and placement.bias is None)
        x_TD, taps = self.stack(x_TD, AttentionPlan.of(stream, placement.bias), placement.rotation, wanted=wanted, rows=rows)
        return encoded(x_TD, stream, taps, rows)


def _geglu(width: int, hidden: int) -> GLU:
    return GLU(width, hidden, functional.gelu, gate_bias=False)
