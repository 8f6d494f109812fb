"""Attention over packed sequences, the only operation that reads a layout.

T slots, S sequences, H heads, d width of a head. The reference path runs on every device and precision: dense SDPA for equal
lengths, else buckets of equal lengths, else a loop over sequences. On CUDA in half precision, ``varlen_attn`` serves full and
causal layouts, including windows, and FlexAttention serves ranked layouts and biases. Mixtures of full, causal and prefix sequences
are two calls of either path. Tests marked ``gpu`` compare both with the reference path.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from omnimask.network.attention_plan import AttentionPlan
from omnimask.network.layers import product_dtype

AttentionPath = Literal["reference", "varlen", "flex"]


def choose_path(plan: AttentionPlan, query: Tensor) -> AttentionPath:
    """Return the fastest path for the plan on this device and precision."""
    if query.device.type != "cuda" or query.dtype not in (torch.float16, torch.bfloat16):
        return "reference"
    return "flex" if plan.kind == "ranked" or plan.bias is not None else "varlen"


def prepare(plan: AttentionPlan, x_TD: Tensor) -> None:
    """Compute a learned bias before the first block that reads ``x_TD``.

    Computed inside a block with activation checkpointing, it would belong to the graph of this block. The recomputation would find
    it cached and save fewer tensors than the first run.
    """
    if plan.bias is not None and choose_path(plan, x_TD[:0].to(product_dtype(x_TD))) == "reference":
        for number in range(len(plan.buckets)):
            plan.pairs(number, x_TD.device)


def attend(query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan, *, path: AttentionPath | None = None) -> Tensor:
    """Apply softmax attention within the sequences of a plan.

    Args:
        query: (T, H, d); ``key``, ``value``: (T_k, H, d).
        plan: visibility of slots; a sequence without keys gives zeros.
        path: forces a path; defaults to the fastest that fits.

    Returns:
        (T, H, d).
    """
    return _eager(query, key, value, plan, path or choose_path(plan, query))


def _dispatch(query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan, path: AttentionPath) -> Tensor:
    paths = {"reference": _reference, "varlen": _varlen, "flex": _flex}
    if plan.kind != "prefix" or plan.bias is not None or path == "flex":
        return paths[path](query, key, value, plan)
    found = []
    for number, part in enumerate(plan.parts):
        queries, keys = plan.part_slots(number, query.device)
        found.append(paths[path](query[queries], key[keys], value[keys], part.plan))
    return torch.cat(found)[plan.parts_return(query.device)]


_eager: Any = torch.compiler.disable(_dispatch)
"""Excluded from compilation: loops over a layout's sequences would be retraced for every batch."""


def _reference(query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan) -> Tensor:
    device = query.device
    # Sequences of equal lengths become adjacent, so that each bucket is one dense batch.
    if not plan.is_in_order:
        query, keys = query[plan.query_order(device)], plan.key_order(device)
        key, value = key[keys], value[keys]
    parts = []
    for number, bucket in enumerate(plan.buckets):
        q, k, v = query[bucket.queries], key[bucket.keys], value[bucket.keys]
        parts.append(_bucket(q, k, v, bucket.count, plan, plan.pairs(number, device)))
    if not parts:
        return torch.zeros_like(query)
    out = parts[0] if len(parts) == 1 else torch.cat(parts)
    return out if plan.is_in_order else out[plan.query_return(device)]


def _bucket(query: Tensor, key: Tensor, value: Tensor, count: int, plan: AttentionPlan, pairs: Tensor | None) -> Tensor:
    if not len(query) or not len(key):
        return torch.zeros_like(query)
    # (sequences, heads, slots, head width). Lengths within a bucket are equal, so there is no padding.
    q, k, v = (rearrange(x, "(s l) h d -> s h l d", s=count) for x in (query, key, value))
    if pairs is not None and pairs.is_floating_point():
        pairs = pairs.to(q.dtype)
    if plan.reach is not None and k.shape[2] > plan.reach + 1:
        out = _banded(q, k, v, plan.reach, plan.kind == "causal", pairs)
    elif plan.kind == "causal" and q.shape[2] < k.shape[2]:
        out = _suffix(q, k, v)
    else:
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=pairs, is_causal=plan.kind == "causal" and pairs is None)
    return rearrange(out, "s h l d -> (s l) h d")


def _banded(query: Tensor, key: Tensor, value: Tensor, reach: int, causal: bool, pairs: Tensor | None) -> Tensor:
    """Attend (s, h, l, d) in chunks of queries with the keys in reach. Work grows with ``l * reach`` instead of ``l * l``.

    Queries are the last places of their sequences, if there are fewer of them than keys.
    """
    length, step = key.shape[2], max(2 * reach, _SMALLEST_CHUNK)
    before = length - query.shape[2]
    place = torch.arange(length, device=query.device)
    parts = []
    for start in range(before, length, step):
        stop = min(start + step, length)
        rows = slice(start - before, stop - before)
        # Keys in reach of any query of the chunk; the mask excludes those out of reach of a single query.
        columns = slice(max(start - reach, 0), stop if causal else min(stop + reach, length))
        distance = place[start:stop, None] - place[None, columns]
        near = (distance <= reach) & (distance >= (0 if causal else -reach))
        if pairs is not None:
            part = pairs[:, :, rows, columns]
            near = part.masked_fill(~near, -torch.inf) if part.is_floating_point() else part & near
        parts.append(
            functional.scaled_dot_product_attention(query[:, :, rows], key[:, :, columns], value[:, :, columns], attn_mask=near)
        )
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _suffix(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend causally from the last places (s, h, q, d) of sequences to all of their places (s, h, l, d)."""
    before = key.shape[2] - query.shape[2]
    if query.shape[2] <= _SMALLEST_CHUNK:
        seen = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril(before)
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
    # A mask of many queries would need memory for all pairs. The kernel has none for queries at all places, so those missing are
    # added and their results discarded.
    padded = functional.pad(query, (0, 0, before, 0))
    return functional.scaled_dot_product_attention(padded, key, value, is_causal=True)[:, :, before:]


_SMALLEST_CHUNK = 128
"""Minimum number of queries per chunk; smaller products are inefficient."""


def _varlen(query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    queries, keys = plan.cumulative(query.device)
    longest = int(plan.layout.lengths.max(initial=0)), int(plan.keys.lengths.max(initial=0))
    reach = -1 if plan.reach is None else plan.reach
    # (left, right) in slots, -1 for unlimited. Fewer queries than keys are aligned to the end of their sequence.
    window = (reach, 0 if plan.kind == "causal" else reach)
    # Query, key and value may be views of one projection, and the kernel needs contiguous memory.
    out = varlen_attn(
        query.contiguous(), key.contiguous(), value.contiguous(), queries, keys, longest[0], longest[1], window_size=window
    )
    assert isinstance(out, Tensor)
    return out


@cache
def _flex_kernel(device_type: str) -> Any:
    """Return the compiled kernel on CUDA. The eager kernel on CPU is forward only and serves comparisons."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True) if device_type == "cuda" else flex_attention


def _flex(query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan) -> Tensor:
    q, k, v = (rearrange(x, "t h d -> 1 h t d") for x in (query, key, value))
    bias = plan.bias

    def biased(score: Tensor, _batch: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        assert bias is not None
        # The kernel asks for one pair of slots at a time: the bias is (1, H, 1, 1), of which this head's number counts.
        return score + bias(i.reshape(1, 1), j.reshape(1, 1)).reshape(-1)[head]

    modify = None if bias is None else biased
    out = _flex_kernel(query.device.type)(q, k, v, score_mod=modify, block_mask=plan.block_mask(query.device))
    assert isinstance(out, Tensor)
    return rearrange(out, "1 h t d -> t h d")
