"""Pools of ids from which replacements are drawn. V ids of a vocabulary, M members of all pools, n ids to replace."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from omnimask.interfaces import Context, TokenSpec

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Pools:
    """``members`` (M,) of all pools, concatenated. For every id (V,): ``begin`` and ``size`` of its pool in ``members``, and its
    ``place`` in this pool, -1 for non-members."""

    members: Ints
    begin: Ints
    size: Ints
    place: Ints

    @classmethod
    def of(cls, pool: Ints, modality: str) -> Pools:
        """Build from the pool of every id (V,), -1 for ids that are never drawn.

        Ids without a pool, or alone in one, draw from all pools.

        Raises:
            ValueError: there are fewer than two ids to draw.
        """
        members = np.argsort(pool, kind="stable")[np.count_nonzero(pool < 0) :]
        if len(members) < 2:
            raise ValueError(f"only {len(members)} ids of {modality!r} can be drawn; at least two are needed")
        _, first, index, count = np.unique(pool[members], return_index=True, return_inverse=True, return_counts=True)
        begin, size, place = np.zeros(len(pool), np.int64), np.full(len(pool), len(members)), np.full(len(pool), -1)
        place[members] = np.arange(len(members))
        has_others = count[index] > 1
        inside = members[has_others]
        begin[inside], size[inside] = first[index][has_others], count[index][has_others]
        place[inside] -= begin[inside]
        return cls(members, begin, size, place)

    def other(self, ids: Ints, uniform: NDArray[np.float64]) -> Ints:
        """Return (n,) a different id of each id's pool, uniformly drawn; ``uniform`` (n,) in [0, 1)."""
        place = self.place[ids]
        # Draw one of size - 1 places and skip the id's own.
        drawn = np.floor(uniform * (self.size[ids] - (place >= 0))).astype(np.int64)
        return self.members[self.begin[ids] + drawn + ((place >= 0) & (drawn >= place))]


def whole_pools(context: Context) -> dict[str, Pools]:
    """Return one pool for each served modality, with all ids except the tokenizer's special ones."""
    return {name: Pools.of(np.where(drawable(context.specs[name]), 0, -1), name) for name in context.modalities}


def drawable(spec: TokenSpec) -> NDArray[np.bool_]:
    """Return (V,) True for all ids except the tokenizer's special ones."""
    is_drawable = np.ones(spec.vocabulary or 0, bool)
    is_drawable[list(spec.special_ids.values())] = False
    return is_drawable
