"""Linear recurrences over sequences that lie end to end. T slots, C independent recurrences."""

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from omnimask.interfaces import Layout
from omnimask.packed import index_tensor


def scan(decay: Tensor, value: Tensor, layout: Layout) -> Tensor:
    """(T, C) states ``h_t = decay_t * h_{t-1} + value_t``, which are 0 before each sequence of ``layout``.

    All slots are computed together in ``log2`` of the longest sequence's length steps, each of which joins pairs of intervals that
    are twice as long as before [0]. A sequence's first decay is 0, and so is that of every interval that holds it: nothing crosses
    a border, and a sequence's states do not depend on what lies beside it. The backward pass is the same recurrence from behind,
    so that only decays and states are kept.

    Args:
        decay: (T, C).
        value: (T, C), of the same type.
        layout: the sequences' lengths.

    [0] Hillis, Steele: Data Parallel Algorithms, 1986.
    """
    firsts = layout.offsets[:-1][layout.lengths > 0]
    longest = int(layout.lengths.max(initial=0))
    return cast(Tensor, _Scan.apply(decay, value, index_tensor(firsts, decay.device), longest))


def backwards(layout: Layout) -> Layout:
    """The layout of a packed array whose slots are in the opposite order."""
    return Layout(np.ascontiguousarray(layout.lengths[::-1]), np.ascontiguousarray(layout.parent[::-1]), layout.attention)


def _states(decay: Tensor, value: Tensor, longest: int) -> Tensor:
    """(T, C), where the decay of every sequence's first slot is 0."""
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
