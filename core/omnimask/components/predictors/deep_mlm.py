"""A masked language modeling head preceded by transformer blocks. T slots, R asked ones, N targets, D width, H heads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from omnimask.component import Component, named
from omnimask.components.encoders.bert import BertBlock
from omnimask.components.predictors.mlm import MaskedLM
from omnimask.interfaces import Context, Encoded, PairBias, Position, Run, Stream, Target, View
from omnimask.network.attention_plan import AttentionPlan
from omnimask.network.blocks import OutputRows, Stack, asked_rows, check_heads, initialise_normal
from omnimask.network.layers import MLP
from omnimask.packed import index_tensor

Share = Annotated[float, Field(ge=0, le=1)]
_GOLDEN = 0.6180339887498949


def _smoke(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return small blocks, one more than those with a limited view."""
    return {"depth": len(options["unmask"]) + 1, "heads": 2, "mlp_width": 64}


class DeepMLM(MaskedLM):
    """Blocks like BERT's over the encoder's features, followed by the output layer of ``mlm`` (DrBERT, later BPDec [0]).

    The decoder serves pretraining only. The encoder is unchanged by it, need not end in features suited for logits, and is exported
    without it. Designs, which combine:

    - ``depth`` blocks and nothing else;
    - ``unmask``, gradual unmasking attention [0]: asked slots are guesses, so the first blocks see only some of them. They are
      drawn in every step, and fixed by their position outside of training; a slot always sees itself;
    - ``skip``, a random mixture of outputs [0]: during training, some answers are computed from the encoder's features, which keeps
      these useful for a head;
    - ``position``: the blocks receive the slots' positions once more (the enhanced mask decoder of DeBERTa [1]).

    Several modalities share the blocks, the linear layer and the norm.

    Args:
        target: correct answers and their loss.
        depth: number of blocks.
        heads: their attention heads.
        mlp_width: hidden width of their MLPs; defaults to 4 times the encoder's width.
        unmask: ascending shares of the asked slots visible to the first, the second, ... block; further blocks see all.
        skip: share of the answers computed from the encoder's features during training.
        position: position component of the blocks, in addition to the features.
        dropout: rate on the outputs of the blocks' branches, during training.
        tied: whether output weights are tied to the embedding, or are the head's own.
        bias: whether the linear layer and the norm before the logits have biases; the logits have one.
        norm_eps: epsilon of the norms.

    [0] Liang, Liang: BPDec (first DrBERT): Unveiling the Potential of Masked Language Modeling Decoder in BERT Pretraining, 2024.
    [1] He et al.: DeBERTa: Decoding-enhanced BERT with Disentangled Attention, 2020, section 3.2.
    """

    smoke: ClassVar[Any] = staticmethod(_smoke)

    def __init__(
        self,
        context: Context,
        *,
        target: Component[Target] = named("target", "ids"),  # noqa: B008
        depth: Annotated[int, Field(gt=0)] = 2,
        heads: Annotated[int, Field(gt=0)],
        mlp_width: Annotated[int, Field(gt=0)] | None = None,
        unmask: tuple[Share, ...] = (),
        skip: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        position: Component[Position] = named("position", "none"),  # noqa: B008
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        tied: bool = True,
        bias: bool = True,
        norm_eps: Annotated[float, Field(gt=0)] = 1e-12,
    ) -> None:
        super().__init__(context, target=target, tied=tied, bias=bias, norm_eps=norm_eps)
        self.reads_asked = False
        width, self.heads_of_blocks, self.skip = context.width, heads, skip
        check_heads(width, heads)
        hidden = mlp_width or 4 * width
        if len(unmask) > depth or list(unmask) != sorted(unmask):
            raise ValueError(f"unmask {list(unmask)} must be increasing shares for at most {depth} blocks (depth)")
        self.shares = (*unmask, *[1.0] * (depth - len(unmask)))
        blocks = [BertBlock(width, heads, MLP(width, hidden), norm_eps, dropout) for _ in range(depth)]
        self.stacks = nn.ModuleList([Stack([block]) for block in blocks])
        initialise_normal(self.stacks)
        self.position = position(self.block_context(width, heads))  # pyright: ignore[reportAttributeAccessIssue]

    def decode(self, encoded: Encoded, view: View, run: Run) -> Callable[[Tensor], Tensor]:
        decoded, rows = self.run_blocks(encoded)
        return lambda slots: self._features_at(slots, encoded, decoded, rows)

    def run_blocks(self, encoded: Encoded) -> tuple[Tensor, OutputRows | None]:
        """Return (R, D) features of the asked slots, or (T, D) of all."""
        stream, x_TD = encoded.stream, encoded.at(self.context.layer)
        placement = self.position(stream)
        x_TD = x_TD if placement.added is None else x_TD + placement.added
        whole = AttentionPlan.of(stream, placement.bias)
        seen_at = self.seen_at(stream)
        rows = None if seen_at is None else asked_rows(stream, placement.bias is None and self.shares[-1] == 1)
        for share, stack in zip(self.shares, self.stacks, strict=True):
            plan = whole
            if share < 1 and seen_at is not None:
                plan = AttentionPlan.of(stream, self._hiding(seen_at >= share, placement.bias))
            x_TD, _ = stack(x_TD, plan, placement.rotation, rows=rows if stack is self.stacks[-1] else None)
        return x_TD, rows

    def seen_at(self, stream: Stream) -> Tensor | None:
        """Return (T,) the share above which a slot is visible: below 0 for slots without targets, else uniform in [0, 1)."""
        if stream.asked is None:
            return None
        slots = stream.asked.slots
        if self.training:
            drawn = torch.rand(len(slots), device=slots.device)
        else:  # by the slot's index in its sequence, so independent of the batch
            first = index_tensor(np.repeat(stream.layout.offsets[:-1], stream.asked.layout.lengths), slots.device)
            # Multiples of the golden ratio, modulo 1, are evenly spread for any number of slots.
            drawn = ((slots - first + 1) * _GOLDEN).frac().to(torch.float32)
        # -1 is below every share: slots without targets are visible in all blocks.
        return torch.full((stream.layout.num_slots,), -1.0, device=slots.device).index_copy(0, slots, drawn)

    def _hiding(self, is_hidden: Tensor, bias: PairBias | None) -> PairBias:
        """Return a bias that hides slots (T,) from all other slots."""
        heads = self.heads_of_blocks

        def of(asking: Tensor, seen: Tensor) -> Tensor:
            # (sequences, L queries, L keys)
            hides = is_hidden[seen][:, None, :] & (asking[:, :, None] != seen[:, None, :])
            blocked = (
                torch.zeros(hides.shape, device=hides.device).masked_fill(hides, -torch.inf)[:, None].expand(-1, heads, -1, -1)
            )
            return blocked if bias is None else blocked + bias(asking, seen)

        return of

    def _features_at(self, slots: Tensor, encoded: Encoded, decoded: Tensor, rows: OutputRows | None) -> Tensor:
        """Return (N, D): decoded features, some of them replaced by the encoder's during training."""
        asked = encoded.stream.asked
        features = decoded[slots if rows is None or asked is None else asked.row[slots]]
        if self.training and self.skip:
            is_skipped = torch.rand(len(slots), 1, device=features.device) < self.skip
            features = torch.where(is_skipped, encoded.at_slots(slots, self.context.layer).to(features.dtype), features)
        return features
