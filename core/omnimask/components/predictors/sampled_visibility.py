"""Attention in which every slot sees a random share of the others. T slots, L slots of one sequence, D width, H heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from omnimask.components.predictors.keyed import GOLDEN, keys_of, mixed
from omnimask.interfaces import PairBias
from omnimask.network.attention_plan import AttentionPlan
from omnimask.network.blocks import CrossAttention, Rotation


class AskingBlock(nn.Module):
    """Post-norm block in which slots attend to fixed embeddings, followed by an MLP.

    No slot ever reads another's result, so information about an invisible token cannot reach a slot through any number of blocks.

    Args:
        width: D.
        heads: H.
        mlp: maps (T, D) to (T, D).
        norm_eps: epsilon of the layer norms.
        dropout: rate on the outputs of both branches, during training.
    """

    branches = 2

    def __init__(self, width: int, heads: int, mlp: nn.Module, norm_eps: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = CrossAttention(width, heads, width)
        self.norm_attention = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = mlp
        self.norm_mlp = nn.LayerNorm(width, eps=norm_eps)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(
        self, asking: Tensor, shown: Tensor, plan: AttentionPlan, rotations: tuple[Rotation, Rotation] | None = None
    ) -> Tensor:
        """Return (T, D) from the queries (T, D) and the shown embeddings (T, D) of the same slots."""
        x_TD = self.norm_attention(asking + self.dropout(self.attention(asking, shown, plan, rotations)))
        return self.norm_mlp(x_TD + self.dropout(self.mlp(x_TD)))


def hiding(noise: Tensor, place: Tensor, is_open: Tensor, share: float, heads: int) -> PairBias:
    """Return a bias with which a slot sees all open slots, each other slot with probability ``share``, and never itself.

    Args:
        noise: (T,) float64 uniform in [0, 1), of the query slots; all random choices are derived from it by a hash (SplitMix64).
        place: (T,) index of a slot in its sequence, independent of packing.
        is_open: (T,) slots visible to every slot of their sequence.
        share: in (0, 1].
        heads: H, which share the choice.
    """
    key = keys_of(noise)
    step = (place + 1) * GOLDEN

    def of(asking: Tensor, seen: Tensor) -> Tensor:
        # (sequences, L queries, L keys): a number per pair, from the query's key and the place of the key's slot.
        drawn = mixed(key[asking][:, :, None] + step[seen][:, None, :])
        is_hidden = (drawn >= share) | (asking[:, :, None] == seen[:, None, :])
        is_hidden = is_hidden & ~is_open[seen][:, None, :]
        bias = torch.zeros(is_hidden.shape, device=is_hidden.device).masked_fill(is_hidden, -torch.inf)
        # (sequences, H, L, L) without copies.
        return bias[:, None].expand(-1, heads, -1, -1)

    return of
