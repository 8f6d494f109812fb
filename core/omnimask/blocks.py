"""Transformer blocks over packed sequences. T slots, D width, H heads, d = D / H."""

from __future__ import annotations

from collections.abc import Sequence

from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from omnimask.attention import AttentionPlan, attend
from omnimask.positions.rotary import rotate

Rotation = tuple[Tensor, Tensor]


def initialise(module: nn.Module) -> None:
    """Xavier-uniform matrices and zero biases for every linear layer below, as MAE and ViT do."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def check_heads(width: int, heads: int) -> int:
    """Width of one head. Raises ``ValueError`` if the heads do not share the width evenly."""
    if width % heads:
        raise ValueError(f"width {width} is no multiple of heads {heads}; choose for example heads {_divisor_near(width, heads)}")
    return width // heads


def _divisor_near(width: int, heads: int) -> int:
    return min((h for h in range(1, width + 1) if width % h == 0), key=lambda h: abs(h - heads))


class SelfAttention(nn.Module):
    """Multi-head attention of a packed stream to itself."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x_TD: Tensor, plan: AttentionPlan, rotation: Rotation | None) -> Tensor:
        query, key, value = rearrange(self.qkv(x_TD), "t (n h d) -> n t h d", n=3, h=self.heads)
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        return self.project(attend(query, key, value, plan).flatten(1))


class CrossAttention(nn.Module):
    """Multi-head attention of a packed stream to the features of another, sequence by sequence."""

    def __init__(self, width: int, heads: int, context_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(context_width, 2 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x_TD: Tensor, context: Tensor, plan: AttentionPlan) -> Tensor:
        query = rearrange(self.query(x_TD), "t (h d) -> t h d", h=self.heads)
        key, value = rearrange(self.key_value(context), "t (n h d) -> n t h d", n=2, h=self.heads)
        return self.project(attend(query, key, value, plan).flatten(1))


class MLP(nn.Sequential):
    """Linear, GELU (the exact one: it is also the faster one on CPU), linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class Block(nn.Module):
    """Pre-norm: attention, attention to a context if there is one, MLP; each on a residual path."""

    compile_me = True

    def __init__(
        self, width: int, heads: int, *, mlp_ratio: float = 4.0, norm_eps: float = 1e-6, context_width: int | None = None
    ) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width, eps=norm_eps)
        self.attention = SelfAttention(width, heads)
        self.norm_context = nn.LayerNorm(width, eps=norm_eps) if context_width else None
        self.cross = CrossAttention(width, heads, context_width) if context_width else None
        self.norm_mlp = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = MLP(width, round(width * mlp_ratio))

    def forward(
        self,
        x_TD: Tensor,
        plan: AttentionPlan,
        rotation: Rotation | None = None,
        context: Tensor | None = None,
        context_plan: AttentionPlan | None = None,
    ) -> Tensor:
        x_TD = x_TD + self.attention(self.norm_attention(x_TD), plan, rotation)
        if self.cross is not None and self.norm_context is not None:
            assert context is not None and context_plan is not None
            x_TD = x_TD + self.cross(self.norm_context(x_TD), context, context_plan)
        return x_TD + self.mlp(self.norm_mlp(x_TD))


class Stack(nn.Module):
    """Blocks one after another, with taps at the layers asked for."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self._checkpoints = False

    def set_activation_checkpointing(self, enabled: bool) -> None:
        """Keep only each block's input for the backward pass, and compute the rest again there."""
        self._checkpoints = enabled

    def forward(
        self,
        x_TD: Tensor,
        plan: AttentionPlan,
        rotation: Rotation | None = None,
        context: Tensor | None = None,
        context_plan: AttentionPlan | None = None,
        layers: Sequence[int] = (),
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """The last block's output, and that of the blocks numbered in ``layers`` from 1."""
        taps: dict[int, Tensor] = {}
        for number, block in enumerate(self.blocks, start=1):
            arguments = (x_TD, plan, rotation, context, context_plan)
            if self._checkpoints and self.training:
                x_TD = checkpoint(block, *arguments, use_reentrant=False)  # pyright: ignore[reportAssignmentType]
            else:
                x_TD = block(*arguments)
            if number in layers:
                taps[number] = x_TD
        return x_TD, taps
