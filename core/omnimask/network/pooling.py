"""Pooling to one vector per sequence. S sequences, D width."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from torch import Tensor

from omnimask.interfaces import Encoded
from omnimask.packed import index_tensor

SequencePool: TypeAlias = Literal["auto", "first", "mean", "summary"]
"""The first slot (a class token of the tokenizer), the mean of all slots, or the mean of the encoder's summary tokens. ``auto``
is the summary if available, else the first slot."""


def check_pool(pool: SequencePool, num_summary: int) -> None:
    """Raise ``ValueError`` if summary tokens are requested but the encoder has none."""
    if pool == "summary" and not num_summary:
        raise ValueError("pool summary: the encoder has no summary tokens; use first or mean")


def pooled(encoded: Encoded, pool: SequencePool = "auto", layer: int | None = None) -> Tensor:
    """Pool an encoder's features to (S, D); zeros for a sequence without slots.

    Raises:
        ValueError: the summary is requested, but the encoder has none, or a middle layer is read.
    """
    if pool == "summary" or (pool == "auto" and encoded.summary is not None and layer is None):
        if encoded.summary is None or layer is not None:
            raise ValueError("pool summary: the features have no summary token; use first or mean")
        return encoded.summary.mean(1)
    layout, data = encoded.stream.layout, encoded.at(layer)
    if pool == "mean":
        # (T,) sequence of every slot; a mean is a segment sum over the lengths.
        owner = index_tensor(np.repeat(np.arange(layout.num_sequences), layout.lengths), data.device)
        total = data.new_zeros(layout.num_sequences, data.shape[1]).index_add(0, owner, data)
        return total / index_tensor(layout.lengths.clip(1), data.device).to(data)[:, None]
    # The offset of an empty sequence is the first slot of the next one.
    is_there = layout.lengths > 0
    first = index_tensor(layout.offsets[:-1][is_there], data.device)
    if is_there.all():
        return data[first]
    rows = index_tensor(np.flatnonzero(is_there), data.device)
    return data.new_zeros(layout.num_sequences, data.shape[1]).index_copy(0, rows, data[first])
