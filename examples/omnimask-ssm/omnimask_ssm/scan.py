"""Linear recurrences over packed sequences. T slots, C independent recurrences."""

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from omnimask.interfaces import Layout
from omnimask.packed import index_tensor


def scan(decay: Tensor, value: Tensor, layout: Layout) -> Tensor:
    """Return (T, C) states ``h_t = decay_t * h_{t-1} + value_t``, starting from 0 in each sequence of ``layout``.

    All slots are computed together in ``log2`` of the longest sequence's length steps. Each step joins pairs of intervals, which
    are twice as long as in the step before [0]. The first decay of a sequence is set to 0, and so is the decay of every interval
    that contains it: no state crosses a boundary, and a sequence's states do not depend on its neighbors in the pack. The backward
    pass is the same recurrence in reverse order and needs only decays and states.

    Args:
        decay: (T, C) factors of the previous state.
        value: (T, C) inputs, of the same dtype.
        layout: lengths of the sequences.

    [0] Hillis, Steele: Data Parallel Algorithms, 1986.
    """
    firsts = layout.offsets[:-1][layout.lengths > 0]
    longest = int(layout.lengths.max(initial=0))
    return cast(Tensor, _Scan.apply(decay, value, index_tensor(firsts, decay.device), longest))


def backwards(layout: Layout) -> Layout:
    """Return the layout of a packed array with its slots in reverse order."""
    return Layout(np.ascontiguousarray(layout.lengths[::-1]), np.ascontiguousarray(layout.parent[::-1]), layout.attention)


def _states(decay: Tensor, value: Tensor, longest: int) -> Tensor:
    """Return (T, C) states. The decay of every sequence's first slot must be 0."""
    step = 1
    while step < longest:
        value = torch.cat([value[:step], torch.addcmul(value[step:], decay[step:], value[:-step])])
        if 2 * step < longest:
            decay = torch.cat([decay[:step], decay[step:] * decay[:-step]])
        step *= 2
    return value


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, decay: Tensor, value: Tensor, firsts: Tensor, longest: int) -> Tensor:
        decay = decay.index_fill(0, firsts, 0.0)
        states = _states(decay, value, longest)
        ctx.save_for_backward(decay, states, firsts)
        ctx.longest = longest
        return states

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        decay, states, firsts = ctx.saved_tensors
        (grad,) = upstream
        next_decay = torch.cat([decay[1:], torch.zeros_like(decay[:1])])
        to_value = _states(next_decay.flip(0), grad.flip(0), ctx.longest).flip(0)
        earlier = torch.cat([torch.zeros_like(states[:1]), states[:-1]]).index_fill(0, firsts, 0.0)
        return to_value * earlier, to_value, None, None
