"""The encoder of ModernBERT. T slots, D width."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from omnimask.component import Component, named
from omnimask.components.encoders.base import SelfAttentionEncoder
from omnimask.components.positions.trial import check_placement
from omnimask.interfaces import Context, Encoded, MaskedBatch, Placement, Position, Stream
from omnimask.network.attention_plan import AttentionPlan
from omnimask.network.blocks import (
    OutputRows,
    Rotation,
    SelfAttention,
    Stack,
    Wanted,
    asked_rows,
    check_heads,
    encoded,
    initialise_normal,
)
from omnimask.network.embed import ModalitySlots, make_modality_embedding
from omnimask.network.layers import GLU, add_branch


class ModernBertBlock(nn.Module):
    """Pre-norm attention and gated MLP, without biases.

    Args:
        width: D.
        heads: H.
        mlp_width: width of the MLP's gate.
        norm_eps: epsilon of the layer norms.
        first: whether this is the first block, whose attention has no norm because the embeddings are already normalized.
        reach: number of slots to either side visible to its attention; None: all.
    """

    compile_me = True
    branches = 2

    def __init__(self, width: int, heads: int, mlp_width: int, norm_eps: float, *, first: bool, reach: int | None) -> None:
        super().__init__()
        self.reach = reach
        self.norm_attention = nn.Identity() if first else nn.LayerNorm(width, eps=norm_eps, bias=False)
        self.attention = SelfAttention(width, heads, bias=False)
        self.norm_mlp = nn.LayerNorm(width, eps=norm_eps, bias=False)
        self.mlp = GLU(width, mlp_width, functional.gelu, bias=False, gate_bias=False)

    def forward(
        self,
        x_TD: Tensor,
        plan: AttentionPlan,
        rotation: Rotation | None = None,
        context: None = None,
        context_plan: None = None,
        context_rotation: None = None,
        kept: Tensor | None = None,
        rows: OutputRows | None = None,
        *,
        with_mlp: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return (T, D), or (R, D) if ``rows`` is given; ``with_mlp`` also the output of the MLP. ``kept`` (2, T, 1) factors of the
        branches."""
        branch = self.attention(self.norm_attention(x_TD), plan.within(self.reach), rotation, rows)
        x_TD = add_branch(x_TD if rows is None else x_TD[rows.index], branch, kept, 0)
        branch = self.mlp(self.norm_mlp(x_TD))
        x_TD = add_branch(x_TD, branch, kept, 1)
        return (x_TD, branch) if with_mlp else x_TD


class ModernBertEncoder(SelfAttentionEncoder):
    """A pre-norm transformer with gated MLPs, without biases, with global attention in every few blocks and local in others [0].

    Weights are initialized from N(0, 0.02), those that write to the residual path from N(0, 0.02 / sqrt(2 depth)).

    Args:
        width: D, features per token.
        depth: number of blocks.
        heads: attention heads, which divide the width evenly.
        mlp_width: width of the MLPs' gates; defaults to 1.5 times ``width``, as in the published sizes' 1152 for 768.
        global_every: every n-th block, starting with the first, attends to the whole sequence; 1: all blocks.
        window: slots visible to a local block, half of them on either side.
        position: position component of global blocks; its additions to embeddings and biases of attention apply everywhere.
        local_position: position component of local blocks; only rotations are supported.
        norm_eps: epsilon of the layer norms.
        modality_embedding: slots that receive a learned vector of their modality in recipes with several modalities: ``hidden``
            ones, which show no content, ``all`` or ``none``.

    [0] Warner et al.: Smarter, Better, Faster, Longer (ModernBERT), 2024.
    """

    name = "modernbert"
    smoke: ClassVar[Any] = {"width": 32, "depth": 4, "heads": 2, "mlp_width": 48, "window": 8}
    num_summary = 0

    def __init__(
        self,
        context: Context,
        *,
        width: Annotated[int, Field(gt=0)],
        depth: Annotated[int, Field(gt=0)],
        heads: Annotated[int, Field(gt=0)],
        mlp_width: Annotated[int, Field(gt=0)] | None = None,
        global_every: Annotated[int, Field(gt=0)] = 3,
        window: Annotated[int, Field(ge=2, multiple_of=2)] = 128,
        position: Component[Position] = named("position", "rotary", temperature=160000.0),  # noqa: B008
        local_position: Component[Position] = named("position", "rotary", temperature=10000.0),  # noqa: B008
        norm_eps: Annotated[float, Field(gt=0)] = 1e-5,
        modality_embedding: ModalitySlots = "hidden",
    ) -> None:
        super().__init__()
        self.width, self.depth = width, depth
        head_width, hidden = check_heads(width, heads), mlp_width or 3 * width // 2
        self.reaches = [None if number % global_every == 0 else window // 2 for number in range(depth)]
        self.norm_embedding = nn.LayerNorm(width, eps=norm_eps, bias=False)
        self.stack = Stack(
            [
                ModernBertBlock(width, heads, hidden, norm_eps, first=not number, reach=reach)
                for number, reach in enumerate(self.reaches)
            ]
        )
        self.norm = nn.LayerNorm(width, eps=norm_eps, bias=False)
        initialise_normal(self)
        for name, parameter in self.named_parameters():
            if name.endswith(("attention.project.weight", "mlp.out.weight")):
                nn.init.normal_(parameter, std=0.02 / (2 * depth) ** 0.5)
        inner = dataclasses.replace(context, width=width, num_heads=heads, head_width=head_width)
        self.position = position(inner)
        self.local_position = local_position(inner) if any(self.reaches) else None
        if self.local_position is not None:
            check_placement(self.local_position, context.specs, "local_position", "rotation")
        self.modalities = make_modality_embedding(context, width, modality_embedding)

    def encode(self, x_TD: Tensor, placement: Placement, stream: Stream, batch: MaskedBatch, wanted: Wanted) -> Encoded:
        x_TD = self.norm_embedding(x_TD if placement.added is None else x_TD + placement.added)
        local = placement.rotation if self.local_position is None else self._rotation(self.local_position(stream))
        rotations = [placement.rotation if reach is None else local for reach in self.reaches]
        plan = AttentionPlan.of(stream, placement.bias)
        # Windows count all slots of a sequence, so asked slots alone need a global last block.
        is_global = plan.within(self.reaches[-1]) is plan
        rows = asked_rows(stream, wanted.only_asked and placement.bias is None and is_global)
        x_TD, taps = self.stack(x_TD, plan, rotations, wanted=wanted, rows=rows)
        return encoded(self.norm(x_TD), stream, taps, rows)

    @staticmethod
    def _rotation(placement: Placement) -> Rotation | None:
        if placement.added is not None or placement.bias is not None:
            raise ValueError("local_position must only rotate queries and keys; use rotary or none")
        return placement.rotation
