"""A convolutional decoder over the grid of a sample. T slots, S context sequences, C cells of their grids, D width, A axes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from omnimask.component import Component
from omnimask.components.predictors.base import PredictorModule
from omnimask.components.predictors.cells import Cells, Grid, first_slots
from omnimask.components.predictors.keyed import keys_of, normal
from omnimask.interfaces import Context, Encoded, Run, Stream, Target, View
from omnimask.network.blocks import initialise
from omnimask.packed import index_tensor

_CONVOLUTIONS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class ConvDecoder(PredictorModule):
    """Convolutions over the visible features at their places, and noise at all others; answers at hidden places (data2vec 2.0 [0]).

    Every context sequence has a grid of cells, as many axes as its modality's positions: the extents of the tokenizer, or along a
    single unbounded axis the tokens of the sample. Visible tokens' features fill their cells. All others hold noise, keyed to the
    sample, or a learned vector. A block is a convolution, a layer norm without parameters, GELU, and a residual connection unless
    its width changes. A hidden place's answer is that of its cell, so all query sequences of a context sequence share its grid.
    Cells beyond a sequence are zero in every block, so neighbors in a batch never meet.

    The defaults are those published for images. For speech [0] has ``width: 384, depth: 4, kernel: 7``; for text ``depth: 5,
    kernel: 9, groups: 1, residual: false, head_layers: 2``; both drop a tenth of the features before the first block, which this
    decoder does not.

    Args:
        target: correct answers and their loss.
        width: channels of the convolutions.
        depth: number of blocks.
        kernel: size along every axis; odd.
        groups: of channels; divides the encoder's width and ``width``.
        residual: whether a block's input is added to its output.
        fill: ``noise`` or ``learned``, the content of cells without a visible token.
        noise: standard deviation of the noise.
        head_layers: linear layers after the last block, with GELU between.
        head_ratio: width of the layers between, in units of ``width``.
        norm_eps: epsilon of the layer norms.

    [0] Baevski et al.: Efficient Self-supervised Learning with Contextualized Target Representations for Vision, Speech and
    Language, 2022; constants as in the reference implementation.
    """

    reads: ClassVar[Literal["context", "query"]] = "query"
    smoke: ClassVar[Any] = {"width": 32, "depth": 2, "groups": 2}

    def __init__(
        self,
        context: Context,
        *,
        target: Component[Target],
        width: Annotated[int, Field(gt=0)] = 768,
        depth: Annotated[int, Field(gt=0)] = 6,
        kernel: Annotated[int, Field(gt=0)] = 3,
        groups: Annotated[int, Field(gt=0)] = 16,
        residual: bool = True,
        fill: Literal["noise", "learned"] = "noise",
        noise: Annotated[float, Field(ge=0)] = 0.01,
        head_layers: Annotated[int, Field(gt=0)] = 1,
        head_ratio: Annotated[float, Field(gt=0)] = 2.0,
        norm_eps: Annotated[float, Field(gt=0)] = 1e-5,
    ) -> None:
        super().__init__(context, target)
        self.name = _only(context)
        self.grid = Grid.of(context.specs, self.name, kernel)
        _check(context.width, width, kernel, groups)
        self.residual, self.noise, self.eps = residual, noise, norm_eps
        self.needs_noise = fill == "noise"
        self.filling = None if fill == "noise" else nn.Parameter(torch.randn(context.width) * 0.02)
        self.no_weight_decay = set() if self.filling is None else {"filling"}
        convolution: Any = _CONVOLUTIONS[self.grid.axes]
        widths = [context.width, *[width] * depth]
        self.convolutions = nn.ModuleList(
            convolution(before, after, kernel, padding=kernel // 2, groups=groups) for before, after in itertools.pairwise(widths)
        )
        middle = [round(width * head_ratio)] * (head_layers - 1)
        self.heads = nn.ModuleDict({self.name: _head([width, *middle, self.target(self.name).num_outputs])})
        initialise(self.heads)

    def decode(self, encoded: Encoded, view: View, run: Run) -> Callable[[Tensor], Tensor]:
        query, visible = self.stream(view), encoded.at(self.context.layer)
        cells = self.grid.cells(encoded.stream.layout, run.batch.store[self.name].layout)
        x_CD = torch.cat([self._filled(query, cells, visible), visible.new_zeros(1, visible.shape[1])])
        x_CD = x_CD.index_copy(0, cells.of(encoded.stream), visible)[:-1]
        x_CD = self.blocks(x_CD, cells)
        at = cells.of(query, query.layout.parent)

        def read(slots: Tensor) -> Tensor:
            if at.device.type == "cpu" and bool((at[slots] >= cells.count).any()):
                raise ValueError("predictor conv_decoder answers at places, but a hidden slot has none; use the corruptor drop")
            return x_CD[at[slots]]

        return read

    def blocks(self, x_CD: Tensor, cells: Cells) -> Tensor:
        """Return (C, width) from (C, D) contents of the cells."""
        is_real = None if cells.is_real is None else index_tensor(cells.is_real, x_CD.device)[:, None]
        for convolution in self.convolutions:
            # (S, *grid, D), whose memory is that of a channels-last (S, D, *grid).
            dense = convolution(x_CD.unflatten(0, cells.shape).movedim(-1, 1)).movedim(1, -1)
            out_CD = functional.gelu(functional.layer_norm(dense, dense.shape[-1:], eps=self.eps)).flatten(0, -2)
            out_CD = out_CD if is_real is None else out_CD * is_real
            x_CD = out_CD + x_CD if self.residual and out_CD.shape == x_CD.shape else out_CD
        return x_CD

    def _filled(self, query: Stream, cells: Cells, visible: Tensor) -> Tensor:
        """Return the contents (C, D) of cells without a token."""
        if self.filling is not None:
            filled = self.filling.expand(cells.count, -1)
        elif query.noise is None or not len(query.noise):
            filled = visible.new_zeros(cells.count, visible.shape[1])
        else:
            # One key for each grid: the number of its first hidden slot.
            first = index_tensor(first_slots(query.layout, cells.num_sequences), visible.device)
            sequence, place = (index_tensor(part, visible.device) for part in cells.owners())
            filled = self.noise * normal(keys_of(query.noise)[first][sequence], place, visible.shape[1])
        if cells.is_real is not None:
            filled = filled * index_tensor(cells.is_real, visible.device)[:, None]
        return filled.to(visible.dtype)


def _only(context: Context) -> str:
    if len(context.modalities) != 1:
        raise ValueError(
            f"predictor conv_decoder has the grid of one modality, not of {list(context.modalities)}; write one predictor for "
            "each, with of: [NAME]"
        )
    return context.modalities[0]


def _check(before: int, width: int, kernel: int, groups: int) -> None:
    if kernel % 2 == 0:
        raise ValueError(f"predictor conv_decoder: kernel {kernel} has no center; choose an odd one: {kernel + 1}")
    for name, size in (("the encoder's width", before), ("width", width)):
        if size % groups:
            raise ValueError(f"predictor conv_decoder: groups {groups} do not divide {name} {size}; choose groups that divide both")


def _head(widths: list[int]) -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.GELU()] if layers else []
        layers.append(nn.Linear(before, after))
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)
