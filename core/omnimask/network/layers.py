"""Named layers used in blocks. T slots, D width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

NormKind: TypeAlias = Literal["layer", "rms"]
MLPKind: TypeAlias = Literal["gelu", "swiglu"]


def make_norm(kind: NormKind, width: int, eps: float) -> nn.Module:
    """Return a norm. ``layer``: LayerNorm; ``rms``: RMSNorm, without centering or shift [0].

    [0] Zhang, Sennrich: Root Mean Square Layer Normalization, 2019.
    """
    return nn.LayerNorm(width, eps=eps) if kind == "layer" else nn.RMSNorm(width, eps=eps)


def make_mlp(kind: MLPKind, width: int, hidden: int) -> nn.Module:
    """Return an MLP with about ``2 * width * hidden`` weights, independent of its kind."""
    return MLP(width, hidden) if kind == "gelu" else GLU(width, swiglu_width(hidden), functional.silu)


def swiglu_width(hidden: int) -> int:
    """Return two thirds of a plain MLP's hidden width, rounded up to a multiple of 8: a gated MLP has three matrices, not two [0].

    [0] Shazeer: GLU Variants Improve Transformer, 2020.
    """
    return -(-2 * hidden // 24) * 8


class MLP(nn.Sequential):
    """Linear, exact GELU (also the faster variant on CPU), linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class GLU(nn.Module):
    """Gated MLP ``out(activation(gate(x)) * value(x))`` [0]; gate and value share a matrix.

    SwiGLU with ``silu``, GeGLU with ``gelu``.

    Args:
        width: D.
        hidden: width of the gate and of the value.
        activation: of the gate.
        bias: whether ``out`` has a bias; ``gate_bias`` whether gate and value have one.

    [0] Shazeer: GLU Variants Improve Transformer, 2020.
    """

    def __init__(
        self, width: int, hidden: int, activation: Callable[[Tensor], Tensor], *, bias: bool = True, gate_bias: bool = True
    ) -> None:
        super().__init__()
        self.activation = activation
        self.gate_value = nn.Linear(width, 2 * hidden, bias=gate_bias)
        self.out = nn.Linear(hidden, width, bias=bias)

    def forward(self, x_TD: Tensor) -> Tensor:
        gate, value = self.gate_value(x_TD).chunk(2, dim=-1)
        return self.out(self.activation(gate) * value)


def drop_path_rates(rate: float, depth: int) -> list[float]:
    """Return stochastic depth's linear schedule [0]: from 0 in the first block to ``rate`` in the last. A single block has 0.

    [0] Huang et al.: Deep Networks with Stochastic Depth, 2016.
    """
    return [rate * number / max(depth - 1, 1) for number in range(depth)]


def draw_kept(rate: float, branches: int, num_sequences: int, sequence: Tensor) -> Tensor:
    """Draw (branches, T, 1) factors of residual branches from torch's generator.

    0 for all slots of a dropped sequence, ``1 / (1 - rate)`` for a kept one, which preserves the expectation.

    Args:
        rate: probability of a sequence to drop a branch, in [0, 1).
        branches: residual branches of a block.
        num_sequences: S.
        sequence: (T,) sequence of every slot.
    """
    # One number per branch and sequence, (branches, S), gathered to the slots.
    kept = torch.rand(branches, num_sequences, device=sequence.device) >= rate
    return (kept / (1 - rate))[:, sequence, None]


def add_branch(x_TD: Tensor, branch: Tensor, kept: Tensor | None, number: int) -> Tensor:
    """Add a branch (T, D) to the residual path (T, D), times its factors ``kept[number]`` (T, 1) if ``kept`` is given."""
    return x_TD + (branch if kept is None else branch * kept[number])


def rotate(data: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate channels (i, i + d / 2) of (T, H, d); ``rotation`` is (cos, sin), each (T, d)."""
    # (T, 1, d): all heads share the rotation.
    cos, sin = (part[:, None, :].to(data.dtype) for part in rotation)
    first, second = data.chunk(2, dim=2)
    return data * cos + torch.cat([-second, first], dim=2) * sin


def product_dtype(x: Tensor) -> torch.dtype:
    """Return the precision of matrix products of ``x``: that of autocast on its device if enabled, else its own."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
