"""Disentangled attention: logits of content and of relative places. T slots, H heads, d width of a head, R rows of the table."""

from __future__ import annotations

import math
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from omnimask.interfaces import PairRelation, Stream
from omnimask.network.attention_plan import AttentionPlan
from omnimask.network.blocks import SelfAttention


class DisentangledAttention(SelfAttention):
    """Self-attention whose logits also compare contents with relative places, in both directions [0].

    ``(q_i k_j + q_i K[p(i, j)] + k_j Q[p(i, j)]) / sqrt(3 d)``, where K and Q are the projections of a table of relative places by
    the same weights as those of the content. The plan's ``relation`` gives p(i, j), the row of a pair of slots, or R for a pair
    without one, which has the first term only.

    [0] He et al.: DeBERTa: Decoding-enhanced BERT with Disentangled Attention, 2020.
    """

    def attend_with(self, x_TD: Tensor, table_RD: Tensor, plan: AttentionPlan) -> Tensor:
        """Return (T, D) from features and the table of relative places."""
        width = self.project.in_features
        query, key, value = rearrange(self.qkv(x_TD), "t (n h d) -> n t h d", n=3, h=self.heads)
        weight, bias = self.qkv.weight[: 2 * width], None if self.qkv.bias is None else self.qkv.bias[: 2 * width]
        places = rearrange(functional.linear(table_RD, weight, bias), "r (n h d) -> n h d r", n=2, h=self.heads)
        # Row R, of pairs without a relation, is zero.
        place_query, place_key = functional.pad(places, (0, 1))
        return self.project(_eager(query, key, value, place_query, place_key, plan).flatten(1))


def _attend(query: Tensor, key: Tensor, value: Tensor, place_query: Tensor, place_key: Tensor, plan: AttentionPlan) -> Tensor:
    """Return (T, H, d); ``place_query``, ``place_key`` (H, d, R + 1).

    Sequences of equal lengths are one dense product, so memory grows with the sum of squared lengths and with T * R.
    """
    device = query.device
    if not plan.is_in_order:
        order = plan.query_order(device)
        query, key, value = query[order], key[order], value[order]
    parts = []
    for number, bucket in enumerate(plan.buckets):
        q, k, v = (rearrange(x[bucket.queries], "(s l) h d -> s h l d", s=bucket.count) for x in (query, key, value))
        if q.shape[2]:
            logits = _place_logits(q, k, place_query, place_key, plan.relations(number, device))
            seen = plan.visible(number, device)
            scale = 1 / math.sqrt(3 * q.shape[-1])
            logits = (logits * scale) if seen is None else (logits * scale).masked_fill(~seen, -torch.inf)
            parts.append(functional.scaled_dot_product_attention(q, k, v, attn_mask=logits, scale=scale))
    if not parts:
        return torch.zeros_like(query)
    out = torch.cat([rearrange(part, "s h l d -> (s l) h d") for part in parts])
    return out if plan.is_in_order else out[plan.query_return(device)]


_eager: Any = torch.compiler.disable(_attend)
"""Excluded from compilation, like :func:`omnimask.network.attention.attend`."""


def _place_logits(query: Tensor, key: Tensor, place_query: Tensor, place_key: Tensor, rows: Tensor) -> Tensor:
    """Return (s, H, L, L) sums of both terms for contents (s, H, L, d) and the table's rows (s or 1, L, L)."""
    rows = rows[:, None].expand(len(query), query.shape[1], -1, -1)
    to_place = (query @ place_key).gather(3, rows)
    # A key's products with all rows are (s, H, L keys, R + 1), so rows are read by (key, query).
    from_place = (key @ place_query).gather(3, rows.transpose(2, 3)).transpose(2, 3)
    return to_place + from_place


def relative_rows(stream: Stream, buckets: int, max_distance: int) -> PairRelation:
    """Return the rows of a stream's pairs in a table of 2 * ``buckets`` rows: the bucket of their signed distance plus ``buckets``.

    Pairs with a slot without a position have row 2 * ``buckets``. Distances are rounded to integers and run along the first axis.
    """
    positions, has_position = stream.positions, stream.has_position

    def rows(queries: Tensor, keys: Tensor) -> Tensor:
        shape = (*queries.shape, keys.shape[1])
        if not positions.shape[1]:
            return torch.full(shape, 2 * buckets, dtype=torch.int64, device=queries.device)
        place = positions[:, 0].float()
        distance = (place[queries][:, :, None] - place[keys][:, None, :]).round()
        row = (log_bucket(distance, buckets, max_distance) + buckets).clamp(0, 2 * buckets - 1).long()
        both = has_position[queries][:, :, None] & has_position[keys][:, None, :]
        row = row.where(both, 2 * buckets)
        # On CPU, sequences with equal distances share the rows (1, L_q, L_k).
        shared = len(row) > 1 and row.device.type == "cpu" and bool((row == row[:1]).all())
        return row[:1] if shared else row

    return rows


def log_bucket(distance: Tensor, buckets: int, max_distance: int) -> Tensor:
    """Return the buckets of signed distances: themselves up to ``buckets / 2``, and logarithmic ones up to ``max_distance``.

    The distance ``max_distance - 1`` has the bucket ``buckets - 1`` (He et al.: DeBERTa, 2020; microsoft/DeBERTa).
    """
    middle = buckets // 2
    size = distance.abs()
    growth = torch.log(size.clamp(min=middle) / middle) / torch.log(torch.tensor((max_distance - 1) / middle))
    far = torch.ceil(growth * (middle - 1)) + middle
    return torch.where(size <= middle, distance, far * distance.sign())
