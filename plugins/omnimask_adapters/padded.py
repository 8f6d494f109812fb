"""What models that need dense tensors are given. T slots, S sequences, L slots of the longest, D width."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from omnimask.interfaces import Layout, Packed, Stream
from omnimask.packed import dense, from_dense


@dataclass(frozen=True)
class Padded:
    """Sequences side by side: ``data`` (S, L, D), and ``is_real`` (S, L), None where all are equally long.

    Sequences without slots are left out: softmax over nothing is not a number.
    """

    data: Tensor
    is_real: Tensor | None
    layout: Layout

    @classmethod
    def of(cls, data: Tensor, stream: Stream) -> Padded:
        """The slots of a stream. Raises ``ValueError`` where not every slot of a sequence sees all of it."""
        if stream.layout.attention != "full":
            raise ValueError(
                f"models of other libraries are given sequences whose slots all see each other, and this stream is "
                f"{stream.layout.attention}; use an encoder of omnimask's own"
            )
        layout = _filled(stream.layout)
        padded, is_real = dense(Packed(data, layout))
        return cls(padded, is_real if len(set(layout.lengths.tolist())) > 1 else None, layout)

    def packed(self, data: Tensor) -> Tensor:
        """(S, L, ...) -> (T, ...) without padding."""
        return from_dense(data, self.layout).data

    def beside(self, data: Tensor) -> Tensor:
        """(T, ...) -> (S, L, ...): other values of the slots, zeros at padding."""
        return dense(Packed(data, self.layout))[0]

    def bias(self) -> Tensor | None:
        """(S, 1, 1, L) what is added to attention's logits: minus infinity at padding."""
        if self.is_real is None:
            return None
        zeros = torch.zeros(self.is_real.shape, dtype=self.data.dtype, device=self.data.device)
        return zeros.masked_fill(~self.is_real, -torch.inf)[:, None, None, :]


def _filled(layout: Layout) -> Layout:
    """The layout without sequences of length 0; one of length 0 if there are no others."""
    held = np.flatnonzero(layout.lengths)
    return Layout(layout.lengths[held], layout.parent[held]) if len(held) else Layout(np.zeros(0, np.int64), np.zeros(0, np.int64))
