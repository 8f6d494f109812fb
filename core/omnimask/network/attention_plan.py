"""The parts of a stream's attention that do not depend on its features: visibility, in the order required by kernels.

T slots, S sequences, H heads, L slots of one sequence.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omnimask.interfaces import Layout, PairBias, Stream
from omnimask.packed import index_tensor, ranges


@dataclass(frozen=True)
class Bucket:
    """``count`` sequences with equal numbers of queries and keys, and their slices of the (reordered) packed arrays."""

    count: int
    queries: slice
    keys: slice


class AttentionPlan:
    """Feature-independent parts of a stream's attention. Created once and shared by all layers.

    Args:
        layout: of the queries.
        keys: layout of the keys and values; None for self-attention.
        rank, block: (T,) visibility within sequences, required if ``layout.attention`` is ``ranked``.
        bias: added to the logits of pairs of slots.
        reach: maximum distance in slots, to either side, of visible slots; None for all.
    """

    def __init__(
        self,
        layout: Layout,
        keys: Layout | None = None,
        *,
        rank: Tensor | None = None,
        block: Tensor | None = None,
        bias: PairBias | None = None,
        reach: int | None = None,
    ) -> None:
        self.layout = layout
        self.keys = keys or layout
        self.kind = layout.attention if keys is None else "full"
        if self.layout.num_sequences != self.keys.num_sequences:
            raise ValueError(f"{layout.num_sequences} query sequences for {self.keys.num_sequences} key sequences")
        if self.kind == "ranked" and (rank is None or block is None):
            raise ValueError("a ranked layout needs the rank and the block of every slot")
        if keys is not None and (bias is not None or reach is not None):
            raise ValueError("a bias or a reach needs self-attention, but the keys are those of another stream")
        self.rank, self.block, self.bias, self.reach = rank, block, bias, reach
        self._device_cache: dict[Any, Any] = {}
        self._within: dict[int, AttentionPlan] = {}
        self._pairs_of = self

    @classmethod
    def of(cls, stream: Stream, bias: PairBias | None = None) -> AttentionPlan:
        """Return the plan of a stream's self-attention."""
        return cls(stream.layout, rank=stream.rank, block=stream.block, bias=bias)

    def within(self, reach: int | None) -> AttentionPlan:
        """Return the plan limited to ``reach`` slots to either side, or itself if this is not a restriction."""
        if reach is None or int(self.layout.lengths.max(initial=0)) <= reach + 1:
            return self
        if reach not in self._within:
            near = AttentionPlan(self.layout, rank=self.rank, block=self.block, bias=self.bias, reach=reach)
            near._pairs_of = self  # pairs do not depend on the reach
            self._within[reach] = near
        return self._within[reach]

    @cached_property
    def _sorted(self) -> NDArray[np.int64]:
        """Sequences sorted by (queries, keys), so that equal ones are adjacent; the original order if sorting gains nothing."""
        pairs = np.stack([self.layout.lengths, self.keys.lengths], axis=1)
        distinct = len(np.unique(pairs, axis=0))
        runs = 1 + int(np.any(np.diff(pairs, axis=0) != 0, axis=1).sum()) if len(pairs) else 0
        identity = np.arange(len(pairs), dtype=np.int64)
        # Sorting pays only if it merges runs; otherwise the gathers are saved.
        return identity if distinct == runs else np.lexsort((pairs[:, 1], pairs[:, 0]))

    @cached_property
    def is_in_order(self) -> bool:
        return bool(np.all(np.diff(self._sorted) > 0))

    @cached_property
    def buckets(self) -> list[Bucket]:
        """Runs of sequences with equal lengths, after reordering."""
        queries, keys = self.layout.lengths[self._sorted], self.keys.lengths[self._sorted]
        change = np.flatnonzero((np.diff(queries) != 0) | (np.diff(keys) != 0)) + 1
        bounds = [0, *change.tolist(), len(queries)] if len(queries) else [0]
        # Offsets of the sequences in the reordered arrays.
        first_query = np.concatenate([[0], np.cumsum(queries)]).tolist()
        first_key = np.concatenate([[0], np.cumsum(keys)]).tolist()
        return [
            Bucket(b - a, slice(first_query[a], first_query[b]), slice(first_key[a], first_key[b]))
            for a, b in itertools.pairwise(bounds)
        ]

    def _cached(self, name: Any, device: torch.device, make: Any) -> Any:
        if (name, device) not in self._device_cache:
            self._device_cache[name, device] = make()
        return self._device_cache[name, device]

    def query_order(self, device: torch.device) -> Tensor:
        """Return (T,) gather indices of queries into bucket order."""
        return self._cached("queries", device, lambda: index_tensor(self._slots(self.layout), device))

    def query_return(self, device: torch.device) -> Tensor:
        """Return (T,) gather indices from bucket order back to packed order."""
        return self._cached("return", device, lambda: index_tensor(np.argsort(self._slots(self.layout)), device))

    def key_order(self, device: torch.device) -> Tensor:
        """Return (T_k,) gather indices of keys into bucket order."""
        return self._cached("keys", device, lambda: index_tensor(self._slots(self.keys), device))

    def _slots(self, layout: Layout) -> NDArray[np.int64]:
        return ranges(layout.offsets[:-1][self._sorted], layout.lengths[self._sorted])

    def slots(self, bucket: Bucket, device: torch.device) -> Tensor:
        """Return (count, L) packed slots of a bucket of self-attention."""
        slots = self.query_order(device)[bucket.queries] if not self.is_in_order else None
        slots = torch.arange(bucket.queries.start, bucket.queries.stop, device=device) if slots is None else slots
        return slots.unflatten(0, (bucket.count, -1))

    def pairs(self, number: int, device: torch.device) -> Tensor | None:
        """Return the mask or bias for pairs of slots of the ``number``-th bucket, computed once for all layers.

        (count or 1, H or 1, L, L): boolean visibility, or the bias of the logits with -inf for invisible pairs. None if the kernel
        needs neither. The reach is not included.
        """
        if self.kind != "ranked" and self.bias is None:
            return None
        if self._pairs_of is not self:
            return self._pairs_of.pairs(number, device)
        return self._cached(("pairs", number), device, lambda: self._pairs(self.slots(self.buckets[number], device)))

    def _pairs(self, slots: Tensor) -> Tensor | None:
        seen = self._seen(slots)
        if self.bias is None:
            return seen
        # (count or 1, H, L, L)
        bias = self.bias(slots, slots)
        return bias if seen is None else bias.masked_fill(~seen, -torch.inf)

    def _seen(self, slots: Tensor) -> Tensor | None:
        """Return visibility by rank and block, (count or 1, 1, L, L), or None if all slots are visible."""
        if self.kind == "full":
            return None
        if self.kind == "causal":
            return torch.ones(slots.shape[1], slots.shape[1], dtype=torch.bool, device=slots.device).tril()[None, None]
        assert self.rank is not None and self.block is not None
        # (count, L) each; their comparisons are (count, L queries, L keys).
        rank, block = self.rank[slots], self.block[slots]
        same = (rank[:, :, None] == rank[:, None, :]) & (block[:, :, None] == block[:, None, :])
        return ((rank[:, None, :] < rank[:, :, None]) | same).unsqueeze(1)

    def sequence(self, device: torch.device) -> Tensor:
        """Return (T,) sequence index of every query slot."""
        owner = np.repeat(np.arange(self.layout.num_sequences), self.layout.lengths)
        return self._cached("sequence", device, lambda: index_tensor(owner, device))

    def cumulative(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return (S + 1,) int32 offsets of queries and keys for variable-length kernels."""
        return self._cached(
            "cumulative",
            device,
            lambda: (
                index_tensor(self.layout.offsets.astype(np.int32), device),
                index_tensor(self.keys.offsets.astype(np.int32), device),
            ),
        )

    def block_mask(self, device: torch.device) -> Any:
        """Return FlexAttention's block mask (CUDA; built once per stream)."""
        from torch.nn.attention.flex_attention import create_block_mask

        rank, block, kind, reach = self.rank, self.block, self.kind, self.reach
        sequence = self.sequence(device)

        def sees(_batch: Tensor, _head: Tensor, i: Tensor, j: Tensor) -> Tensor:
            # One mask covers all packed slots, so it must also separate the sequences.
            allowed = sequence[i] == sequence[j]
            if kind == "causal":
                allowed = allowed & (j <= i)
            if kind == "ranked":
                assert rank is not None and block is not None
                allowed = allowed & ((rank[j] < rank[i]) | ((rank[j] == rank[i]) & (block[j] == block[i])))
            return allowed if reach is None else allowed & ((i - j).abs() <= reach)

        slots = self.layout.num_slots
        return self._cached("flex", device, lambda: create_block_mask(sees, None, None, slots, slots, device=device))
