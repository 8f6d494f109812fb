"""Attention in which every slot sees a random share of the others. T slots, L slots of one sequence, D width, H heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from omnimask.interfaces import PairBias
from omnimask.network.attention_plan import AttentionPlan
from omnimask.network.blocks import CrossAttention, Rotation

_GOLDEN, _MIX_1, _MIX_2 = (value - (1 << 64) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


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
    # All 53 random bits of a float64 in [0, 1).
    key = (noise * 2.0**53).long()
    step = (place + 1) * _GOLDEN

    def of(asking: Tensor, seen: Tensor) -> Tensor:
        # (sequences, L queries, L keys): a number per pair, from the query's key and the place of the key's slot.
        drawn = _mixed(key[asking][:, :, None] + step[seen][:, None, :])
        is_hidden = (drawn >= share) | (asking[:, :, None] == seen[:, None, :])
        is_hidden = is_hidden & ~is_open[seen][:, None, :]
        bias = torch.zeros(is_hidden.shape, device=is_hidden.device).masked_fill(is_hidden, -torch.inf)
        # (sequences, H, L, L) without copies.
        return bias[:, None].expand(-1, heads, -1, -1)

    return of


def _mixed(state: Tensor) -> Tensor:
    """Return uniform numbers in [0, 1) from int64 states with wrap-around arithmetic."""
    for shift, factor in ((30, _MIX_1), (27, _MIX_2)):
        state = (state ^ _shifted(state, shift)) * factor
    state = state ^ _shifted(state, 31)
    # The upper 53 bits fill the mantissa of a float64.
    return _shifted(state, 11).double() * 2.0**-53


def _shifted(state: Tensor, by: int) -> Tensor:
    """Shift right as an unsigned integer."""
    return (state >> by) & ((1 << (64 - by)) - 1)
