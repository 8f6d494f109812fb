"""Attention over packed sequences, the only operation that looks at a layout.

T slots, S sequences, H heads, d width of a head. The reference path (dense SDPA where all lengths are equal, else buckets of equal
lengths, else a loop over sequences) runs on every device and precision. On CUDA in half precision, ``varlen_attn`` serves full and
causal layouts, and FlexAttention ranked ones; both are compared with the reference path by tests marked ``gpu``.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from omnimask.interfaces import Layout, Stream
from omnimask.packed import index_tensor, ranges

Path = Literal["reference", "varlen", "flex"]


@dataclass(frozen=True)
class Bucket:
    """``count`` sequences with equal numbers of queries and keys, at these places of the (reordered) packed arrays."""

    count: int
    queries: slice
    keys: slice


class AttentionPlan:
    """Everything about one stream's attention that does not depend on the features; made once, used by every layer.

    Args:
        layout: of the queries.
        keys: layout of the keys and values; None for self-attention.
        rank, block: (T,) visibility inside the sequences, needed where ``layout.attention`` is ``ranked``.
    """

    def __init__(self, layout: Layout, keys: Layout | None = None, *, rank: Tensor | None = None, block: Tensor | None = None):
        self.layout = layout
        self.keys = keys or layout
        self.kind = layout.attention if keys is None else "full"
        if self.layout.num_sequences != self.keys.num_sequences:
            raise ValueError(f"{layout.num_sequences} query sequences meet {self.keys.num_sequences} key sequences")
        if self.kind == "ranked" and (rank is None or block is None):
            raise ValueError("a ranked layout needs the rank and the block of every slot")
        self.rank, self.block = rank, block
        self._device_cache: dict[Any, Any] = {}

    @classmethod
    def of(cls, stream: Stream) -> AttentionPlan:
        """The plan of a stream's self-attention."""
        return cls(stream.layout, rank=stream.rank, block=stream.block)

    @cached_property
    def _sorted(self) -> NDArray[np.int64]:
        """Sequences by (queries, keys), so that equal ones lie together; in place where that gains nothing."""
        pairs = np.stack([self.layout.lengths, self.keys.lengths], axis=1)
        distinct = len(np.unique(pairs, axis=0))
        runs = 1 + int(np.any(np.diff(pairs, axis=0) != 0, axis=1).sum()) if len(pairs) else 0
        identity = np.arange(len(pairs), dtype=np.int64)
        return identity if distinct == runs else np.lexsort((pairs[:, 1], pairs[:, 0]))

    @cached_property
    def is_in_order(self) -> bool:
        return bool(np.all(np.diff(self._sorted) > 0))

    @cached_property
    def buckets(self) -> list[Bucket]:
        """Runs of sequences with equal lengths, after the reordering."""
        queries, keys = self.layout.lengths[self._sorted], self.keys.lengths[self._sorted]
        change = np.flatnonzero((np.diff(queries) != 0) | (np.diff(keys) != 0)) + 1
        bounds = [0, *change.tolist(), len(queries)] if len(queries) else [0]
        first_query = np.concatenate([[0], np.cumsum(queries)]).tolist()
        first_key = np.concatenate([[0], np.cumsum(keys)]).tolist()
        return [
            Bucket(b - a, slice(first_query[a], first_query[b]), slice(first_key[a], first_key[b]))
            for a, b in itertools.pairwise(bounds)
        ]

    def _cached(self, name: str, device: torch.device, make: Any) -> Any:
        if (name, device) not in self._device_cache:
            self._device_cache[name, device] = make()
        return self._device_cache[name, device]

    def query_order(self, device: torch.device) -> Tensor:
        """(T,) gathers queries into bucket order."""
        return self._cached("queries", device, lambda: index_tensor(self._slots(self.layout), device))

    def query_return(self, device: torch.device) -> Tensor:
        """(T,) gathers bucket order back into packed order."""
        return self._cached("return", device, lambda: index_tensor(np.argsort(self._slots(self.layout)), device))

    def key_order(self, device: torch.device) -> Tensor:
        """(T_k,) gathers keys into bucket order."""
        return self._cached("keys", device, lambda: index_tensor(self._slots(self.keys), device))

    def _slots(self, layout: Layout) -> NDArray[np.int64]:
        return ranges(layout.offsets[:-1][self._sorted], layout.lengths[self._sorted])

    def visible(self, bucket: Bucket, device: torch.device) -> Tensor | None:
        """(count, 1, L, L) which slot sees which, for ranked layouts; None where the kernel knows."""
        if self.kind != "ranked" or self.rank is None or self.block is None:
            return None
        rank, block = self.rank, self.block
        if not self.is_in_order:
            order = self.query_order(device)
            rank, block = rank[order], block[order]
        rank = rank[bucket.queries].unflatten(0, (bucket.count, -1))
        block = block[bucket.queries].unflatten(0, (bucket.count, -1))
        same = (rank[:, :, None] == rank[:, None, :]) & (block[:, :, None] == block[:, None, :])
        return ((rank[:, None, :] < rank[:, :, None]) | same).unsqueeze(1)

    def sequence(self, device: torch.device) -> Tensor:
        """(T,) sequence of every query slot."""
        owner = np.repeat(np.arange(self.layout.num_sequences), self.layout.lengths)
        return self._cached("sequence", device, lambda: index_tensor(owner, device))

    def cumulative(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(S + 1,) int32 offsets of queries and keys, as variable-length kernels want them."""
        return self._cached(
            "cumulative",
            device,
            lambda: (
                index_tensor(self.layout.offsets.astype(np.int32), device),
                index_tensor(self.keys.offsets.astype(np.int32), device),
            ),
        )

    def block_mask(self, device: torch.device) -> Any:
        """FlexAttention's block mask of the ranked predicate (CUDA; built once per stream)."""
        from torch.nn.attention.flex_attention import create_block_mask

        rank, block = self.rank, self.block
        assert rank is not None and block is not None
        sequence = index_tensor(np.repeat(np.arange(self.layout.num_sequences), self.layout.lengths), device)

        def sees(_batch: Tensor, _head: Tensor, i: Tensor, j: Tensor) -> Tensor:
            earlier = (rank[j] < rank[i]) | ((rank[j] == rank[i]) & (block[j] == block[i]))
            return (sequence[i] == sequence[j]) & earlier

        slots = self.layout.num_slots
        return self._cached("flex", device, lambda: create_block_mask(sees, None, None, slots, slots, device=device))


def choose_path(plan: AttentionPlan, query: Tensor) -> Path:
    """The fastest path that this device and precision have for the plan."""
    if query.device.type != "cuda" or query.dtype not in (torch.float16, torch.bfloat16):
        return "reference"
    return "flex" if plan.kind == "ranked" else "varlen"


def attend(query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan, *, path: Path | None = None) -> Tensor:
    """Softmax attention inside the sequences of a plan.

    Args:
        query: (T, H, d); ``key``, ``value``: (T_k, H, d).
        plan: says which slots see which; a sequence without keys gives zeros.
        path: forces one of the paths; by default the fastest that fits.

    Returns:
        (T, H, d).
    """
    return _eager(query, key, value, plan, path or choose_path(plan, query))


def _dispatch(query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan, path: Path) -> Tensor:
    paths = {"reference": _reference, "varlen": _varlen, "flex": _flex}
    return paths[path](query, key, value, plan)


_eager: Any = torch.compiler.disable(_dispatch)
"""Loops over a layout's sequences would be traced anew for every batch."""


def _reference(query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan) -> Tensor:
    device = query.device
    if not plan.is_in_order:
        query, keys = query[plan.query_order(device)], plan.key_order(device)
        key, value = key[keys], value[keys]
    parts = [
        _bucket(query[b.queries], key[b.keys], value[b.keys], b.count, plan.kind == "causal", plan.visible(b, device))
        for b in plan.buckets
    ]
    if not parts:
        return torch.zeros_like(query)
    out = parts[0] if len(parts) == 1 else torch.cat(parts)
    return out if plan.is_in_order else out[plan.query_return(device)]


def _bucket(query: Tensor, key: Tensor, value: Tensor, count: int, causal: bool, visible: Tensor | None) -> Tensor:
    if not len(query) or not len(key):
        return torch.zeros_like(query)
    q, k, v = (rearrange(x, "(s l) h d -> s h l d", s=count) for x in (query, key, value))
    out = functional.scaled_dot_product_attention(q, k, v, attn_mask=visible, is_causal=causal)
    return rearrange(out, "s h l d -> (s l) h d")


def _varlen(query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    queries, keys = plan.cumulative(query.device)
    longest = int(plan.layout.lengths.max(initial=0)), int(plan.keys.lengths.max(initial=0))
    window = (-1, 0) if plan.kind == "causal" else (-1, -1)
    out = varlen_attn(
        query.contiguous(), key.contiguous(), value.contiguous(), queries, keys, longest[0], longest[1], window_size=window
    )
    assert isinstance(out, Tensor)
    return out


@cache
def _flex_kernel(device_type: str) -> Any:
    """Compiled where it runs fused; the eager form, which is forward only on CPU, serves comparisons there."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True) if device_type == "cuda" else flex_attention


def _flex(query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan) -> Tensor:
    q, k, v = (rearrange(x, "t h d -> 1 h t d") for x in (query, key, value))
    out = _flex_kernel(query.device.type)(q, k, v, block_mask=plan.block_mask(query.device))
    assert isinstance(out, Tensor)
    return rearrange(out, "1 h t d -> t h d")
