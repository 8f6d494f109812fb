"""The parts of a stream's attention that do not depend on its features: visibility, in the order required by kernels.

T slots, S sequences, H heads, L slots of one sequence.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omnimask.interfaces import Layout, PairBias, PairRelation, Stream
from omnimask.network.block_mask import interval_mask
from omnimask.packed import index_tensor, ranges

PlanKind: TypeAlias = Literal["full", "causal", "prefix", "ranked"]


@dataclass(frozen=True)
class Part:
    """The ``queries`` (R,) and ``keys`` (K,), slots of a stream, of one of the two calls of a ``prefix`` plan, and their plan."""

    plan: AttentionPlan
    queries: NDArray[np.int64]
    keys: NDArray[np.int64]


@dataclass(frozen=True)
class Bucket:
    """``count`` sequences with equal numbers of queries and keys, and their slices of the (reordered) packed arrays."""

    count: int
    queries: slice
    keys: slice


class AttentionPlan:
    """Feature-independent parts of a stream's attention. Created once and shared by all layers.

    ``kind`` is ``prefix`` for ``ranked`` layouts with a prefix. Without a bias, such a plan is two calls of the other kinds, its
    ``parts``: slots of the prefixes among themselves, and all later slots to the keys of their whole sequences. So memory grows
    with the number of slots, never with that of pairs.

    Args:
        layout: of the queries.
        keys: layout of the keys and values; None for self-attention.
        rank, block: (T,) visibility within sequences, required if ``layout.attention`` is ``ranked`` and ``layout.prefix`` None.
        bias: added to the logits of pairs of slots.
        relation: integers of pairs of slots, for attention whose logits depend on them and on the features.
        reach: maximum distance in slots, to either side, of visible slots; None for all.
        is_suffix: the queries are the last slots of their key sequences and see the keys up to themselves, instead of all keys.
    """

    def __init__(
        self,
        layout: Layout,
        keys: Layout | None = None,
        *,
        rank: Tensor | None = None,
        block: Tensor | None = None,
        bias: PairBias | None = None,
        relation: PairRelation | None = None,
        reach: int | None = None,
        is_suffix: bool = False,
    ) -> None:
        self.layout = layout
        self.keys = keys or layout
        self.kind: PlanKind = _kind(layout) if keys is None else "causal" if is_suffix else "full"
        if self.layout.num_sequences != self.keys.num_sequences:
            raise ValueError(f"{layout.num_sequences} query sequences for {self.keys.num_sequences} key sequences")
        if self.kind == "ranked" and (rank is None or block is None):
            raise ValueError("a ranked layout needs the rank and the block of every slot")
        if keys is not None and (bias is not None or (reach is not None and not is_suffix)):
            raise ValueError("a bias or a reach needs self-attention, but the keys are those of another stream")
        self.rank, self.block, self.bias, self.relation, self.reach = rank, block, bias, relation, reach
        self._device_cache: dict[Any, Any] = {}
        self._within: dict[int, AttentionPlan] = {}
        self._pairs_of = self

    @classmethod
    def of(cls, stream: Stream, bias: PairBias | None = None, relation: PairRelation | None = None) -> AttentionPlan:
        """Return the plan of a stream's self-attention."""
        return cls(stream.layout, rank=stream.rank, block=stream.block, bias=bias, relation=relation)

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
        """Sequences sorted by their sizes, so that equal ones are adjacent; the original order if sorting gains nothing."""
        sizes = self._sizes
        distinct = len(np.unique(sizes, axis=0))
        runs = 1 + int(np.any(np.diff(sizes, axis=0) != 0, axis=1).sum()) if len(sizes) else 0
        identity = np.arange(len(sizes), dtype=np.int64)
        # Sorting pays only if it merges runs; otherwise the gathers are saved.
        return identity if distinct == runs else np.lexsort(sizes.T[::-1])

    @property
    def _sizes(self) -> NDArray[np.int64]:
        """Queries and keys of each sequence (S, 2), and its prefix where one mask shall serve all sequences of a bucket."""
        columns = [self.layout.lengths, self.keys.lengths]
        if self.kind == "prefix" and self.layout.prefix is not None:
            columns.append(self.layout.prefix)
        return np.stack(columns, axis=1)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The calls that a ``prefix`` plan without a bias consists of. Every slot is a query of exactly one."""
        layout, prefix = self.layout, self.layout.prefix
        assert self.kind == "prefix" and prefix is not None and self.bias is None
        # A prefix of one slot is a causal slot.
        prefix = np.where(prefix > 1, prefix, 0)
        first, rest = layout.offsets[:-1], layout.lengths - prefix
        head, tail = Layout(prefix, layout.parent), Layout(rest, layout.parent)
        keys = Layout(np.where(rest > 0, layout.lengths, 0), layout.parent)
        heads = ranges(first, prefix)
        return (
            Part(AttentionPlan(head, reach=self.reach), heads, heads),
            Part(
                AttentionPlan(tail, keys, reach=self.reach, is_suffix=True),
                ranges(first + prefix, rest),
                ranges(first, keys.lengths),
            ),
        )

    def part_slots(self, number: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return (R,) queries and (K,) keys of a part as gather indices."""
        part = self.parts[number]
        return self._cached(("part", number), device, lambda: (index_tensor(part.queries, device), index_tensor(part.keys, device)))

    def parts_return(self, device: torch.device) -> Tensor:
        """Return (T,) gather indices from the parts' queries, one part after the other, to packed order."""
        order = np.concatenate([part.queries for part in self.parts])
        return self._cached("parts", device, lambda: index_tensor(np.argsort(order), device))

    @cached_property
    def is_in_order(self) -> bool:
        return bool(np.all(np.diff(self._sorted) > 0))

    @cached_property
    def buckets(self) -> list[Bucket]:
        """Runs of sequences with equal lengths, after reordering."""
        sizes = self._sizes[self._sorted]
        queries, keys = sizes[:, 0], sizes[:, 1]
        change = np.flatnonzero((np.diff(sizes, axis=0) != 0).any(axis=1)) + 1
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

    def relations(self, number: int, device: torch.device) -> Tensor:
        """Return the relation of pairs of slots of the ``number``-th bucket, (count or 1, L, L), computed once for all layers."""
        relation = self.relation
        assert relation is not None
        slots = self.slots(self.buckets[number], device)
        return self._cached(("relations", number), device, lambda: relation(slots, slots))

    def visible(self, number: int, device: torch.device) -> Tensor | None:
        """Return the visibility of pairs of slots of the ``number``-th bucket, (count or 1, 1, L, L), None if all are visible."""
        return self._cached(("visible", number), device, lambda: self._seen(self.slots(self.buckets[number], device)))

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
        if self.kind in ("causal", "prefix"):
            # Sequences of a bucket have equal lengths and prefixes, so one mask serves all: (1, 1, L, L).
            stop = self._interval(slots.device)[1]
            return (slots[:1, None, :] < stop[slots[:1]][:, :, None]).unsqueeze(1)
        assert self.rank is not None and self.block is not None
        # (count, L) each; their comparisons are (count, L queries, L keys).
        rank, block = self.rank[slots], self.block[slots]
        same = (rank[:, :, None] == rank[:, None, :]) & (block[:, :, None] == block[:, None, :])
        return ((rank[:, None, :] < rank[:, :, None]) | same).unsqueeze(1)

    @cached_property
    def _bounds(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First slot (T,) that a slot sees, and the end (T,) of those that it sees, unless the layout is ranked."""
        layout, prefixes = self.layout, self.layout.prefixes
        assert prefixes is not None
        first = np.repeat(layout.offsets[:-1], layout.lengths)
        slot = np.arange(layout.num_slots)
        stop = np.maximum(slot + 1, first + np.repeat(prefixes, layout.lengths))
        if self.reach is None:
            return first, stop
        return np.maximum(first, slot - self.reach), np.minimum(stop, slot + self.reach + 1)

    def _interval(self, device: torch.device) -> tuple[Tensor, Tensor]:
        first, stop = self._bounds
        return self._cached("interval", device, lambda: (index_tensor(first, device), index_tensor(stop, device)))

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
        """Return FlexAttention's block mask (CUDA; built once per stream).

        Only ``ranked`` plans compare all pairs of slots for it.
        """
        make = self._ranked_mask if self.kind == "ranked" else self._interval_mask
        return self._cached("flex", device, lambda: make(device))

    def _interval_mask(self, device: torch.device) -> Any:
        return interval_mask(*self._bounds, *self._interval(device))

    def _ranked_mask(self, device: torch.device) -> Any:
        from torch.nn.attention.flex_attention import create_block_mask

        rank, block, reach = self.rank, self.block, self.reach
        sequence = self.sequence(device)

        def sees(_batch: Tensor, _head: Tensor, i: Tensor, j: Tensor) -> Tensor:
            assert rank is not None and block is not None
            # One mask covers all packed slots, so it must also separate the sequences.
            allowed = sequence[i] == sequence[j]
            allowed = allowed & ((rank[j] < rank[i]) | ((rank[j] == rank[i]) & (block[j] == block[i])))
            return allowed if reach is None else allowed & ((i - j).abs() <= reach)

        slots = self.layout.num_slots
        return create_block_mask(sees, None, None, slots, slots, device=device)


def _kind(layout: Layout) -> PlanKind:
    return "prefix" if layout.attention == "ranked" and layout.prefix is not None else layout.attention
