"""Attention biases by the distance between two slots. T slots, H heads, A position axes."""

from __future__ import annotations

import torch
from torch import Tensor

from omnimask.interfaces import Context, Module, PairBias, Placement, Stream


class Alibi(Module):
    """Attention bias in proportion to the negative distance of two slots, with a slope per head [0].

    The slopes of H = 2^k heads are the geometric series from ``2^(-8/H)`` with the same ratio. Other numbers of heads take those of
    the next smaller power of two, and every second slope of the next larger one. Distance is absolute, which treats both directions
    alike, as in MosaicBERT [1]; distances along several position axes are summed. A slot without a position has distance 0 to all.
    Nothing is learned, and nothing is added to embeddings.

    [0] Press, Smith, Lewis: Train Short, Test Long: Attention with Linear Biases Enables Input Length Extrapolation, 2021.
    [1] Portes et al.: MosaicBERT, 2023.
    """

    slopes: Tensor

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.axes = max((context.specs[m].axes for m in context.modalities), default=1)
        self.register_buffer("slopes", torch.tensor(slopes(context.num_heads)), persistent=False)

    def forward(self, stream: Stream) -> Placement:
        return Placement(bias=distance_bias(stream.positions[:, : self.axes], stream.has_position, self.slopes))


def slopes(num_heads: int) -> list[float]:
    """Return (H,) slopes of the reference."""
    power = 1 << (max(num_heads, 1).bit_length() - 1)
    series = [2 ** (-8 * number / power) for number in range(1, power + 1)]
    if power == num_heads:
        return series
    return series + slopes(2 * power)[::2][: num_heads - power]


def distance_bias(positions: Tensor, has_position: Tensor, slope: Tensor) -> PairBias:
    """Return the bias of a stream from positions (T, A), ``has_position`` (T,) and slopes (H,)."""

    def bias(queries: Tensor, keys: Tensor) -> Tensor:
        asking, seen = positions[queries], positions[keys]
        # (sequences, L queries, L keys); distances of the axes are summed.
        both = has_position[queries][:, :, None] & has_position[keys][:, None, :]
        distance = (asking[:, :, None] - seen[:, None, :]).abs().sum(3) * both
        # On CPU, sequences with equal distances share one bias, (1, H, L_q, L_k).
        if len(distance) > 1 and distance.device.type == "cpu" and bool((distance == distance[:1]).all()):
            distance = distance[:1]
        return -slope[:, None, None] * distance[:, None]

    return bias
