"""A selective state-space encoder. T slots, D width, E inner width, N states of each inner channel."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from omnimask.component import Component, named
from omnimask.interfaces import Context, Encoded, Layout, MaskedBatch, Module, Packed, Position, Stream
from omnimask_ssm.scan import backwards, scan

Positive = Annotated[int, Field(gt=0)]


class Selective(nn.Module):
    """Every inner channel drives N decaying states; how long they last, what enters and what is read follows from the input.

    Args:
        width: E.
        states: N.
        rank: of the map from the input to the time steps.
    """

    def __init__(self, width: int, states: int, rank: int) -> None:
        super().__init__()
        self.sizes = (rank, states, states)
        self.choose = nn.Linear(width, sum(self.sizes), bias=False)
        self.step = nn.Linear(rank, width)
        self.log_rate = nn.Parameter(torch.arange(1, states + 1).float().log().repeat(width, 1))
        self.skip = nn.Parameter(torch.ones(width))
        self.no_weight_decay = {"log_rate", "skip"}
        with torch.no_grad():  # time steps begin log-uniform in [0.001, 0.1], as Mamba's
            steps = torch.exp(torch.rand(width) * (math.log(0.1) - math.log(0.001)) + math.log(0.001))
            self.step.bias.copy_(steps + torch.log(-torch.expm1(-steps)))
            nn.init.uniform_(self.step.weight, -(rank**-0.5), rank**-0.5)

    def forward(self, x_TE: Tensor, layout: Layout) -> Tensor:
        """(T, E); float32 inside, since states are sums over a whole sequence."""
        chosen, enters, reads = self.choose(x_TE).float().split(self.sizes, dim=1)
        x = x_TE.float()
        step = functional.softplus(functional.linear(chosen, self.step.weight, self.step.bias))
        decay = torch.exp(-step[:, :, None] * self.log_rate.exp())
        value = (step * x)[:, :, None] * enters[:, None, :]
        states = scan(decay.flatten(1), value.flatten(1), layout).unflatten(1, decay.shape[1:])
        return (torch.einsum("ten,tn->te", states, reads) + self.skip * x).to(x_TE.dtype)


class Block(nn.Module):
    """Norm, a selective recurrence in each direction, a gate, and back onto the residual path.

    Args:
        width: D.
        inner: E.
        states: N.
        norm_eps: epsilon of the norm.
    """

    def __init__(self, width: int, inner: int, states: int, norm_eps: float) -> None:
        super().__init__()
        rank = max(1, math.ceil(width / 16))
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.enter = nn.Linear(width, 2 * inner, bias=False)
        self.onward = Selective(inner, states, rank)
        self.backward_too = Selective(inner, states, rank)
        self.leave = nn.Linear(inner, width, bias=False)

    def forward(self, x_TD: Tensor, layout: Layout) -> Tensor:
        """(T, D). Where the layout is causal, only the recurrence from the front runs."""
        x_TE, gate = self.enter(self.norm(x_TD)).chunk(2, dim=1)
        x_TE = functional.silu(x_TE)
        mixed = self.onward(x_TE, layout)
        if layout.attention == "full":
            mixed = mixed + self.backward_too(x_TE.flip(0), backwards(layout)).flip(0)
        return x_TD + self.leave(mixed * functional.silu(gate))


class SelectiveEncoder(Module):
    """State-space blocks in both directions [0], [1], over packed sequences of any length: no attention and no padding.

    Work and memory grow with the number of slots, not with its square. The order of the slots is what the recurrence follows: row
    after row in a picture. Streams may be full or causal; in causal ones the second direction rests. There is no short
    convolution before the recurrence, unlike in Mamba.

    Args:
        width: D, features per token.
        depth: number of blocks.
        states: numbers that each inner channel remembers.
        expand: inner width in units of ``width``.
        position: added to the embeddings. Order alone does not say where hidden tokens were taken out.
        norm_eps: epsilon of the layer norms.

    [0] Gu, Dao: Mamba: Linear-Time Sequence Modeling with Selective State Spaces, 2023. [1] Zhu et al.: Vision Mamba, 2024.
    """

    smoke: ClassVar[Any] = {"width": 32, "depth": 2, "states": 4}
    num_summary = 0

    def __init__(
        self,
        context: Context,
        *,
        width: Positive,
        depth: Positive,
        states: Positive = 16,
        expand: Positive = 2,
        position: Component[Position] = named("position", "sincos"),  # noqa: B008
        norm_eps: Annotated[float, Field(gt=0)] = 1e-6,
    ) -> None:
        super().__init__()
        self.width, self.depth = width, depth
        self.blocks = nn.ModuleList([Block(width, expand * width, states, norm_eps) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.position = position(dataclasses.replace(context, width=width))

    def forward(
        self, embedded: Packed, stream: Stream, batch: MaskedBatch, *, context: Encoded | None = None, layers: Sequence[int] = ()
    ) -> Encoded:
        if context is not None:
            raise ValueError("encoder ssm.selective has no cross-attention; use an encoder with cross-attention to read a context")
        if stream.layout.attention == "ranked":
            raise ValueError("encoder ssm.selective follows the order of slots, and this stream's slots see each other otherwise")
        placement = self.position(stream)
        if placement.rotation is not None or placement.bias is not None:
            raise ValueError("encoder ssm.selective has no attention to rotate or to bias; use sincos, learned or none")
        x_TD = embedded.data if placement.added is None else embedded.data + placement.added
        taps: dict[int, Tensor] = {}
        for number, block in enumerate(self.blocks, start=1):
            x_TD = block(x_TD, stream.layout)
            if number in layers:
                taps[number] = x_TD
        return Encoded(Packed(self.norm(x_TD), stream.layout), stream, taps)
