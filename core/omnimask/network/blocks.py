"""Transformer blocks over packed sequences. T slots, D width, H heads, d = D / H; R output rows of the last block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from omnimask.interfaces import Encoded, Packed, Stream
from omnimask.network.attention import attend, prepare
from omnimask.network.attention_plan import AttentionPlan
from omnimask.network.layers import MLPKind, NormKind, add_branch, draw_kept, drop_path_rates, make_mlp, make_norm, rotate

Rotation = tuple[Tensor, Tensor]


def initialise(module: nn.Module) -> None:
    """Initialize all linear layers below with Xavier-uniform weights and zero biases, as MAE and ViT do."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def initialise_normal(module: nn.Module, std: float = 0.02) -> None:
    """Initialize all linear layers below with weights from N(0, ``std``) and zero biases, as BERT does."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def check_heads(width: int, heads: int) -> int:
    """Return the width of one head. Raise ``ValueError`` if the width is not divisible by the heads."""
    if width % heads:
        raise ValueError(
            f"width {width} is not a multiple of heads {heads}; choose for example heads {_divisor_near(width, heads)}"
        )
    return width // heads


def _divisor_near(width: int, heads: int) -> int:
    return min((h for h in range(1, width + 1) if width % h == 0), key=lambda h: abs(h - heads))


@dataclass(frozen=True)
class OutputRows:
    """The only slots whose output is read: their ``index`` (R,), in sequence order, and the ``plan`` in which they are the
    queries."""

    index: Tensor
    plan: AttentionPlan


def asked_rows(stream: Stream, wanted: bool) -> OutputRows | None:
    """Return the asked slots of a stream with full attention, for its last block, or None if all slots are computed."""
    if not wanted or stream.asked is None or stream.layout.attention != "full":
        return None
    # The asked slots are planned as queries to another layout, whose visibility is always full.
    return OutputRows(stream.asked.slots, AttentionPlan(stream.asked.layout, stream.layout))


@dataclass(frozen=True)
class Wanted:
    """What a pass reads of an encoder: outputs of blocks in ``layers`` and of their MLPs in ``mlps``, counted from 1. With
    ``only_asked`` the last block may compute the asked slots alone."""

    layers: Sequence[int] = ()
    mlps: Sequence[int] = ()
    only_asked: bool = False


@dataclass(frozen=True)
class Taps:
    """Outputs of blocks, and of their MLPs before the residual addition, by number from 1."""

    layers: dict[int, Tensor] = field(default_factory=dict[int, Tensor])
    mlps: dict[int, Tensor] = field(default_factory=dict[int, Tensor])

    def at(self, rows: Tensor) -> Taps:
        """Return the taps of some rows."""
        return Taps(*({number: tap[rows] for number, tap in taps.items()} for taps in (self.layers, self.mlps)))


def encoded(x_TD: Tensor, stream: Stream, taps: Taps, rows: OutputRows | None = None, summary: Tensor | None = None) -> Encoded:
    """Return an encoder's result. If ``rows`` is given, ``x_TD`` contains only their features."""
    layout = stream.layout if rows is None else rows.plan.layout
    return Encoded(Packed(x_TD, layout), stream, taps.layers, summary, rows is not None, taps.mlps)


class SelfAttention(nn.Module):
    """Multi-head self-attention of a packed stream.

    Args:
        width: D.
        heads: H.
        qk_norm: normalizes queries and keys per head, before rotation; None to disable.
        norm_eps: epsilon of this norm.
        bias: whether the linear layers have biases.
    """

    def __init__(
        self, width: int, heads: int, qk_norm: NormKind | None = None, norm_eps: float = 1e-6, *, bias: bool = True
    ) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.project = nn.Linear(width, width, bias=bias)
        self.norm_query, self.norm_key = _qk_norms(qk_norm, width // heads, norm_eps)

    def forward(self, x_TD: Tensor, plan: AttentionPlan, rotation: Rotation | None, rows: OutputRows | None = None) -> Tensor:
        """Return (T, D), or (R, D) if ``rows`` is given."""
        query, key, value = self._of_all(x_TD) if rows is None else self._of_some(x_TD, rows.index)
        query, key = self.norm_query(query), self.norm_key(key)
        if rotation is not None:
            # Keys are all slots and queries the asked ones; each is rotated by its own position.
            asking = rotation if rows is None else (rotation[0][rows.index], rotation[1][rows.index])
            query, key = rotate(query, asking), rotate(key, rotation)
        return self.project(attend(query, key, value, plan if rows is None else rows.plan).flatten(1))

    def _of_all(self, x_TD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = rearrange(self.qkv(x_TD), "t (n h d) -> n t h d", n=3, h=self.heads)
        return query, key, value

    def _of_some(self, x_TD: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project keys and values of all slots, and queries of the slots in ``index``."""
        width = self.project.in_features
        # The matrix of ``_of_all`` in two parts: queries (D, D), keys and values (2 D, D).
        weights = self.qkv.weight.split([width, 2 * width])
        biases = (None, None) if self.qkv.bias is None else self.qkv.bias.split([width, 2 * width])
        query = rearrange(functional.linear(x_TD[index], weights[0], biases[0]), "t (h d) -> t h d", h=self.heads)
        key, value = rearrange(functional.linear(x_TD, weights[1], biases[1]), "t (n h d) -> n t h d", n=2, h=self.heads)
        return query, key, value


class CrossAttention(nn.Module):
    """Multi-head attention from a packed stream to another stream's features, sequence by sequence."""

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
        """Return (T, D). ``rotations`` of the queries and of the keys."""
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
    """Pre-norm block: self-attention, optional cross-attention to a context, and MLP, each on a residual path.

    Args:
        width: D.
        heads: H.
        mlp_ratio: hidden width of the MLP in units of ``width`` (two thirds of it for ``swiglu``).
        norm_eps: epsilon of the norms.
        norm, mlp: their kinds.
        qk_norm: whether queries and keys are normalized.
        context_width: width of the context's features; None for no context.
        self_attention: whether slots attend to each other.
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
        rows: OutputRows | None = None,
        *,
        with_mlp: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return (T, D), or (R, D) if ``rows`` is given; ``with_mlp`` also the output of the MLP.

        Args:
            plan: of self-attention.
            rotation: of queries and keys; ``context_rotation`` of the context's keys, if queries rotate there too.
            context, context_plan: features read by cross-attention, and its plan.
            kept: (3, T, 1) factors of the residual branches (see :func:`omnimask.network.layers.draw_kept`).
            rows: the only slots to output (of a block without a context).
        """
        if self.attention is not None and self.norm_attention is not None:
            assert plan is not None
            branch = self.attention(self.norm_attention(x_TD), plan, rotation, rows)
            x_TD = add_branch(x_TD if rows is None else x_TD[rows.index], branch, kept, 0)
        if self.cross is not None and self.norm_context is not None:
            assert context is not None and context_plan is not None and rows is None
            rotations = None if rotation is None or context_rotation is None else (rotation, context_rotation)
            branch = self.cross(self.norm_context(x_TD), context, context_plan, rotations)
            x_TD = add_branch(x_TD, branch, kept, 1)
        branch = self.mlp(self.norm_mlp(x_TD))
        x_TD = add_branch(x_TD, branch, kept, 2)
        return (x_TD, branch) if with_mlp else x_TD


class Stack(nn.Module):
    """Sequence of blocks with taps at selected layers.

    Args:
        blocks: in order; they take the arguments of :class:`Block` and declare their number of residual branches in ``branches``.
            Only blocks of taps ``mlps`` need the argument ``with_mlp``.
        drop_path: stochastic depth rate of the last block; the others' rates grow linearly up to it.
    """

    def __init__(self, blocks: Sequence[nn.Module], drop_path: float = 0.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.branches = cast(int, blocks[0].branches) if blocks else 0
        self.rates = drop_path_rates(drop_path, len(blocks))
        self._checkpoints = False

    def set_activation_checkpointing(self, enabled: bool) -> None:
        """Keep only each block's input for the backward pass, and recompute its activations there."""
        self._checkpoints = enabled

    def forward(
        self,
        x_TD: Tensor,
        plan: AttentionPlan,
        rotation: Rotation | list[Rotation | None] | None = None,
        context: Tensor | Sequence[Tensor] | None = None,
        context_plan: AttentionPlan | None = None,
        context_rotation: Rotation | None = None,
        wanted: Wanted = Wanted(),
        rows: OutputRows | None = None,
    ) -> tuple[Tensor, Taps]:
        """Return the last block's output (at ``rows`` only, if given), and the taps that are wanted.

        ``rotation`` and ``context`` are shared by all blocks, or given per block.
        """
        taps = Taps()
        if self._checkpoints and self.training:
            prepare(plan, x_TD)
        for number, (block, rate) in enumerate(zip(self.blocks, self.rates, strict=True), start=1):
            read = context if context is None or isinstance(context, Tensor) else context[number - 1]
            kept = self._draw(rate, plan, x_TD)
            last = rows if number == len(self.blocks) else None
            if kept is not None and last is not None:
                # (branches, T, 1) to (branches, R, 1): the last block outputs the asked slots only.
                kept = kept[:, last.index]
            turn = rotation[number - 1] if isinstance(rotation, list) else rotation
            arguments = (x_TD, plan, turn, read, context_plan, context_rotation, kept, last)
            if number in wanted.mlps:
                x_TD, taps.mlps[number] = self._run(block, arguments, with_mlp=True)
            else:
                x_TD = self._run(block, arguments)
            if number in wanted.layers:
                taps.layers[number] = x_TD
        return x_TD, taps

    def _run(self, block: nn.Module, arguments: tuple[Any, ...], **more: bool) -> Any:
        if self._checkpoints and self.training:
            return checkpoint(partial(block, **more), *arguments, use_reentrant=False)
        return block(*arguments, **more)

    def _draw(self, rate: float, plan: AttentionPlan, x_TD: Tensor) -> Tensor | None:
        """Draw the branches kept by each sequence; None keeps all of them."""
        if not rate or not self.training:
            return None
        return draw_kept(rate, self.branches, plan.layout.num_sequences, plan.sequence(x_TD.device)).to(x_TD.dtype)
