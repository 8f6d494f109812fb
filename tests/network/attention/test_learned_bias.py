"""A bias with weights: one gradient, whether activations are kept or computed again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from omnimask.component import Component, named
from omnimask.components.encoders.bert import BertEncoder
from omnimask.components.encoders.modernbert import ModernBertEncoder
from omnimask.components.encoders.transformer import TransformerEncoder
from omnimask.data.collation import collate
from omnimask.interfaces import Context, Draw, Packed, Placement, Sample, Stream, Tokens, TokenSpec, View
from omnimask.network.attention_plan import AttentionPlan
from omnimask.streams import sequence

CONTEXT = Context(specs={"m": TokenSpec(vocabulary=9)}, modalities=("m",))
MOST = 40


class RelativeBias(nn.Module):
    """One learned number for each distance and head (T5)."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(2 * MOST + 1, context.num_heads))

    def forward(self, stream: Stream) -> Placement:
        place = stream.positions[:, 0].long()

        def bias(queries: Tensor, keys: Tensor) -> Tensor:
            return self.table[place[queries][:, :, None] - place[keys][:, None, :] + MOST].permute(0, 3, 1, 2)

        return Placement(bias=bias)


POSITION: Any = Component("position", "relative", {}, cls=RelativeBias)
ENCODERS: dict[str, Any] = {
    "transformer": lambda: TransformerEncoder(CONTEXT, width=16, depth=3, heads=2, position=POSITION),
    "bert": lambda: BertEncoder(CONTEXT, width=16, depth=3, heads=2, position=POSITION),
    "modernbert": lambda: ModernBertEncoder(
        CONTEXT, width=16, depth=3, heads=2, window=4, position=POSITION, local_position=named("position", "none")
    ),
}


def _stream(lengths: list[int]) -> tuple[Stream, Any]:
    samples = [
        Sample({"m": Tokens(np.zeros(n, np.int64), np.arange(n, dtype=np.float32)[:, None])}, Draw(0, 0, str(i)), ("m",))
        for i, n in enumerate(lengths)
    ]
    batch = collate(samples, [{"main": View(sequence(sample, np.arange(len(sample))))} for sample in samples], CONTEXT.specs)
    return batch.views["main"].context, batch


@pytest.mark.parametrize("lengths", [[6, 6, 6], [9, 3, 20, 3]], ids=["equal", "mixed"])
@pytest.mark.parametrize("name", ENCODERS)
def test_recomputed_activations_have_the_same_gradient(name: str, lengths: list[int]) -> None:
    torch.manual_seed(0)
    encoder = ENCODERS[name]().train()
    stream, batch = _stream(lengths)
    data = torch.randn(sum(lengths), 16)

    def gradients(is_recomputed: bool) -> list[Tensor]:
        encoder.stack.set_activation_checkpointing(is_recomputed)
        encoder.zero_grad()
        encoder(Packed(data, stream.layout), stream, batch).features.data.square().sum().backward()
        return [parameter.grad.clone() for parameter in encoder.parameters()]

    kept, recomputed = gradients(False), gradients(True)
    assert encoder.position.table.grad.abs().max() > 0
    assert all(torch.allclose(left, right, rtol=1e-4, atol=1e-5) for left, right in zip(kept, recomputed, strict=True))


def test_a_window_shares_the_pairs_of_the_whole_plan() -> None:
    """They are made once, so that a bias is held once for global and local blocks."""
    stream, _ = _stream([9, 3])
    plan = AttentionPlan.of(stream, RelativeBias(Context(num_heads=2))(stream).bias)
    near = plan.within(2)
    assert near is not plan
    assert near.pairs(0, torch.device("cpu")) is plan.pairs(0, torch.device("cpu"))
