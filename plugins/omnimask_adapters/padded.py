"""Padding for models with dense inputs. T slots, S sequences, L slots of the longest, D width."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from omnimask.interfaces import Layout, Packed, Stream
from omnimask.packed import dense, from_dense


@dataclass(frozen=True)
class Padded:
    """Padded sequences: ``data`` (S, L, D), and ``is_real`` (S, L), None if all have equal lengths.

    Sequences without slots are omitted, because a softmax over nothing is NaN.
    """

    data: Tensor
    is_real: Tensor | None
    layout: Layout

    @classmethod
    def of(cls, data: Tensor, stream: Stream) -> Padded:
        """Pad the slots of a stream. Raise ``ValueError`` unless every slot of a sequence sees all of it."""
        if stream.layout.attention != "full":
            raise ValueError(
                f"models of other libraries need full attention, but this stream has {stream.layout.attention} "
                "attention; use an encoder of omnimask"
            )
        layout = _filled(stream.layout)
        padded, is_real = dense(Packed(data, layout))
        return cls(padded, is_real if len(set(layout.lengths.tolist())) > 1 else None, layout)

    def packed(self, data: Tensor) -> Tensor:
        """Remove the padding: (S, L, ...) -> (T, ...)."""
        return from_dense(data, self.layout).data

    def beside(self, data: Tensor) -> Tensor:
        """Pad other values of the slots with zeros: (T, ...) -> (S, L, ...)."""
        return dense(Packed(data, self.layout))[0]

    def bias(self) -> Tensor | None:
        """Return an additive bias of attention logits (S, 1, 1, L): minus infinity at padding."""
        if self.is_real is None:
            return None
        zeros = torch.zeros(self.is_real.shape, dtype=self.data.dtype, device=self.data.device)
        return zeros.masked_fill(~self.is_real, -torch.inf)[:, None, None, :]


def _filled(layout: Layout) -> Layout:
    """Return the layout without sequences of length 0."""
    held = np.flatnonzero(layout.lengths)
    return Layout(layout.lengths[held], layout.parent[held]) if len(held) else Layout(np.zeros(0, np.int64), np.zeros(0, np.int64))
