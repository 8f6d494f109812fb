"""Block masks of FlexAttention without a comparison of all pairs of slots. T slots, n blocks of 128 slots."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from omnimask.packed import index_tensor

BLOCK = 128
"""Slots in a block of queries or keys, as in ``create_block_mask``."""


def interval_mask(first: NDArray[np.int64], stop: NDArray[np.int64], first_there: Tensor, stop_there: Tensor) -> Any:
    """Return the block mask of slots that see the slots ``[first, stop)`` each, which contain the slot itself.

    Consecutive slots see a common interval, so blocks follow from bounds that the host knows: n^2 of them in place of T^2 pairs,
    without a synchronization with the device.

    Args:
        first, stop: (T,) bounds.
        first_there, stop_there: the same on the device.
    """
    from torch.nn.attention.flex_attention import BlockMask

    def sees(_batch: Tensor, _head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return (j >= first_there[i]) & (j < stop_there[i])

    slots = len(first)
    borders = np.arange(0, slots, BLOCK)
    # Slots seen by any query of a block (n, 1), and by all of them.
    some = np.minimum.reduceat(first, borders)[:, None], np.maximum.reduceat(stop, borders)[:, None]
    every = np.maximum.reduceat(first, borders)[:, None], np.minimum.reduceat(stop, borders)[:, None]
    is_seen = (borders < some[1]) & (borders + BLOCK > some[0])
    # The kernel skips the comparison in full blocks, so they must end within the slots, as must their queries.
    is_full = (borders >= every[0]) & (borders + BLOCK <= every[1]) & (borders[:, None] + BLOCK <= slots)
    device = first_there.device
    partial, full = (_ordered(each, device) for each in (is_seen & ~is_full, is_full))
    return BlockMask.from_kv_blocks(*partial, *full, BLOCK_SIZE=BLOCK, mask_mod=sees, seq_lengths=(slots, slots))


def _ordered(is_block: NDArray[np.bool_], device: Any) -> tuple[Tensor, Tensor]:
    """Return the number (1, 1, n) of blocks of keys of each block of queries, and their indices (1, 1, n, n), the others behind."""
    order = np.argsort(~is_block, axis=1, kind="stable").astype(np.int32)
    count = is_block.sum(axis=1).astype(np.int32)
    return index_tensor(count[None, None], device), index_tensor(order[None, None], device)
