"""Transformer blocks over packed sequences. T slots, D width, H heads, d = D / H; R rows that the last block answers for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from omnimask.interfaces import Encoded, Packed, Stream
from omnimask.network.attention import attend, prepare
from omnimask.network.attention_plan import AttentionPlan
from omnimask.network.layers import MLPKind, NormKind, draw_kept, drop_path_rates, make_mlp, make_norm, rotate

Rotation = tuple[Tensor, Tensor]


def initialise(module: nn.Module) -> None:
    """Xavier-uniform matrices and zero biases for every linear layer below, as MAE and ViT do."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def initialise_normal(module: nn.Module, std: float = 0.02) -> None:
    """Matrices from N(0, ``std``) and zero biases for every linear layer below, as BERT does."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def check_heads(width: int, heads: int) -> int:
    """Width of one head. Raises ``ValueError`` if the heads do not share the width evenly."""
    if width % heads:
        raise ValueError(f"width {width} is no multiple of heads {heads}; choose for example heads {_divisor_near(width, heads)}")
    return width // heads


def _divisor_near(width: int, heads: int) -> int:
    return min((h for h in range(1, width + 1) if width % h == 0), key=lambda h: abs(h - heads))


@dataclass(frozen=True)
class Rows:
    """The only slots whose output somebody reads: ``index`` (R,) of them, sequence after sequence, and the ``plan`` in which they
    alone ask."""

    index: Tensor
    plan: AttentionPlan


def asked_rows(stream: Stream, wanted: bool) -> Rows | None:
    """The asked slots of a stream with full attention, for its last block; None: all slots are computed."""
    if not wanted or stream.asked is None or stream.layout.attention != "full":
        return None
    return Rows(stream.asked.slots, AttentionPlan(stream.asked.layout, stream.layout))


def encoded(x_TD: Tensor, stream: Stream, taps: Mapping[int, Tensor], rows: Rows | None) -> Encoded:
    """An encoder's result; ``x_TD`` are the features of ``rows`` only, if there are any."""
    if rows is None:
        return Encoded(Packed(x_TD, stream.layout), stream, taps)
    return Encoded(Packed(x_TD, rows.plan.layout), stream, taps, only_asked=True)


class SelfAttention(nn.Module):
    """Multi-head attention of a packed stream to itself.

    Args:
        width: D.
        heads: H.
        qk_norm: normalises queries and keys, head by head, before they are rotated; None: not at all.
        norm_eps: epsilon of that norm.
        bias: whether its linear layers have biases.
    """

    def __init__(
        self, width: int, heads: int, qk_norm: NormKind | None = None, norm_eps: float = 1e-6, *, bias: bool = True
    ) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.project = nn.Linear(width, width, bias=bias)
        self.norm_query, self.norm_key = _qk_norms(qk_norm, width // heads, norm_eps)

    def forward(self, x_TD: Tensor, plan: AttentionPlan, rotation: Rotation | None, rows: Rows | None = None) -> Tensor:
        """(T, D); (R, D) where only some rows ask."""
        query, key, value = self._of_all(x_TD) if rows is None else self._of_some(x_TD, rows.index)
        query, key = self.norm_query(query), self.norm_key(key)
        if rotation is not None:
            asking = rotation if rows is None else (rotation[0][rows.index], rotation[1][rows.index])
            query, key = rotate(query, asking), rotate(key, rotation)
        return self.project(attend(query, key, value, plan if rows is None else rows.plan).flatten(1))

    def _of_all(self, x_TD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = rearrange(self.qkv(x_TD), "t (n h d) -> n t h d", n=3, h=self.heads)
        return query, key, value

    def _of_some(self, x_TD: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values of all slots, queries of some."""
        width = self.project.in_features
        weights = self.qkv.weight.split([width, 2 * width])
        biases = (None, None) if self.qkv.bias is None else self.qkv.bias.split([width, 2 * width])
        query = rearrange(functional.linear(x_TD[index], weights[0], biases[0]), "t (h d) -> t h d", h=self.heads)
        key, value = rearrange(functional.linear(x_TD, weights[1], biases[1]), "t (n h d) -> n t h d", n=2, h=self.heads)
        return query, key, value


class CrossAttention(nn.Module):
    """Multi-head attention of a packed stream to the features of another, sequence by sequence."""

    def __init__(self, width: int, heads: int, context_width: int, qk_norm: NormKind | None = None, norm_eps: float = 1e-6) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(context_width, 2 * width)
        self.project = nn.Linear(width, width)
        self.norm_query, self.norm_key = _qk_norms(qk_norm, width // heads, norm_eps)

    def forward(
        self, x_TD: Tensor, context: Tensor, plan: AttentionPlan, rotations: tuple[Rotation, Rotation] | None = None
    ) -> Tensor:
        """``rotations`` of the queries and of the keys."""
        query = rearrange(self.query(x_TD), "t (h d) -> t h d", h=self.heads)
        key, value = rearrange(self.key_value(context), "t (n h d) -> n t h d", n=2, h=self.heads)
        query, key = self.norm_query(query), self.norm_key(key)
        if rotations is not None:
            query, key = rotate(query, rotations[0]), rotate(key, rotations[1])
        return self.project(attend(query, key, value, plan).flatten(1))


def _qk_norms(kind: NormKind | None, head_width: int, eps: float) -> tuple[nn.Module, nn.Module]:
    if kind is None:
        return nn.Identity(), nn.Identity()
    return make_norm(kind, head_width, eps), make_norm(kind, head_width, eps)


class Block(nn.Module):
    """Pre-norm: attention, attention to a context if there is one, MLP; each on a residual path.

    Args:
        width: D.
        heads: H.
        mlp_ratio: hidden width of the MLP in units of ``width`` (of ``swiglu`` two thirds of it).
        norm_eps: epsilon of the norms.
        norm, mlp: their kinds.
        qk_norm: whether queries and keys are normalised.
        context_width: of the features that it attends to; None: there is no context.
        self_attention: whether its slots attend to each other.
    """

    compile_me = True
    branches = 3

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        mlp_ratio: float = 4.0,
        norm_eps: float = 1e-6,
        norm: NormKind = "layer",
        mlp: MLPKind = "gelu",
        qk_norm: bool = False,
        context_width: int | None = None,
        self_attention: bool = True,
    ) -> None:
        super().__init__()
        inner = norm if qk_norm else None
        self.norm_attention = make_norm(norm, width, norm_eps) if self_attention else None
        self.attention = SelfAttention(width, heads, inner, norm_eps) if self_attention else None
        self.norm_context = make_norm(norm, width, norm_eps) if context_width else None
        self.cross = CrossAttention(width, heads, context_width, inner, norm_eps) if context_width else None
        self.norm_mlp = make_norm(norm, width, norm_eps)
        self.mlp = make_mlp(mlp, width, round(width * mlp_ratio))

    def forward(
        self,
        x_TD: Tensor,
        plan: AttentionPlan | None,
        rotation: Rotation | None = None,
        context: Tensor | None = None,
        context_plan: AttentionPlan | None = None,
        context_rotation: Rotation | None = None,
        kept: Tensor | None = None,
        rows: Rows | None = None,
    ) -> Tensor:
        """(T, D); (R, D) where only some rows are asked for.

        Args:
            plan: of the slots' attention to each other.
            rotation: of queries and keys; ``context_rotation`` of the context's keys, where queries rotate there too.
            context, context_plan: what cross-attention reads, and how.
            kept: (3, T, 1) factors of the residual branches (see :func:`omnimask.network.layers.draw_kept`).
            rows: the slots whose output is wanted (of a block without a context).
        """
        if self.attention is not None and self.norm_attention is not None:
            assert plan is not None
            branch = self.attention(self.norm_attention(x_TD), plan, rotation, rows)
            x_TD = (x_TD if rows is None else x_TD[rows.index]) + (branch if kept is None else branch * kept[0])
        if self.cross is not None and self.norm_context is not None:
            assert context is not None and context_plan is not None and rows is None
            rotations = None if rotation is None or context_rotation is None else (rotation, context_rotation)
            branch = self.cross(self.norm_context(x_TD), context, context_plan, rotations)
            x_TD = x_TD + (branch if kept is None else branch * kept[1])
        branch = self.mlp(self.norm_mlp(x_TD))
        return x_TD + (branch if kept is None else branch * kept[2])


class Stack(nn.Module):
    """Blocks one after another, with taps at the layers asked for.

    Args:
        blocks: in order; they take what :class:`Block` takes, and say in ``branches`` how many residual branches they have.
        drop_path: stochastic depth's rate in the last block; the others' grow linearly up to it.
    """

    def __init__(self, blocks: Sequence[nn.Module], drop_path: float = 0.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.branches = cast(int, blocks[0].branches) if blocks else 0
        self.rates = drop_path_rates(drop_path, len(blocks))
        self._checkpoints = False

    def set_activation_checkpointing(self, enabled: bool) -> None:
        """Keep only each block's input for the backward pass, and compute the rest again there."""
        self._checkpoints = enabled

    def forward(
        self,
        x_TD: Tensor,
        plan: AttentionPlan,
        rotation: Rotation | list[Rotation | None] | None = None,
        context: Tensor | Sequence[Tensor] | None = None,
        context_plan: AttentionPlan | None = None,
        context_rotation: Rotation | None = None,
        layers: Sequence[int] = (),
        rows: Rows | None = None,
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """The last block's output (at ``rows`` only, if given), and that of the blocks numbered in ``layers`` from 1.

        ``rotation`` and ``context`` are one for all blocks, or one for each.
        """
        taps: dict[int, Tensor] = {}
        if self._checkpoints and self.training:
            prepare(plan, x_TD)
        for number, (block, rate) in enumerate(zip(self.blocks, self.rates, strict=True), start=1):
            read = context if context is None or isinstance(context, Tensor) else context[number - 1]
            kept = self._draw(rate, plan, x_TD)
            last = rows if number == len(self.blocks) else None
            if kept is not None and last is not None:
                kept = kept[:, last.index]
            turn = rotation[number - 1] if isinstance(rotation, list) else rotation
            arguments = (x_TD, plan, turn, read, context_plan, context_rotation, kept, last)
            x_TD = self._run(block, arguments)
            if number in layers:
                taps[number] = x_TD
        return x_TD, taps

    def _run(self, block: nn.Module, arguments: tuple[Any, ...]) -> Tensor:
        if self._checkpoints and self.training:
            return cast(Tensor, checkpoint(block, *arguments, use_reentrant=False))
        return block(*arguments)

    def _draw(self, rate: float, plan: AttentionPlan, x_TD: Tensor) -> Tensor | None:
        """Which sequences keep which branches of a block; None: all of them."""
        if not rate or not self.training:
            return None
        return draw_kept(rate, self.branches, plan.layout.num_sequences, plan.sequence(x_TD.device)).to(x_TD.dtype)
