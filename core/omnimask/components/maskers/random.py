"""Uniform random masking with an exact number of tokens."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.components.maskers.budget import num_hidden, pick
from omnimask.components.maskers.ragged import num_hidden_each, numbered, pick_each
from omnimask.interfaces import Context, Draw, Masking, MaskingColumns, TokenColumns, Tokens
from omnimask.interfaces.schedules import Ratio, value_at, values_at

Size = Annotated[int, Field(gt=0)]

_MOST_CELLS = 2**62
"""Places of a grid whose numbers fit in 64 bits."""


class RandomMasker:
    """Masking of a uniformly drawn subset of the tokens, or of the cells of a grid, all of them targets (MAE [0], BERT [1]).

    Args:
        ratio: share of the tokens to hide, in (0, 1], or a schedule of it. The number is exact if ``ratio * length`` is an integer,
            else one of the two neighboring integers, with the exact share in expectation.
        unit: tokens are hidden as whole cells of this size in position units, one number for all position axes or one for each; the
            ratio then refers to cells (SimMIM's masked patches of 32 pixels are cells of 2 by 2 patches of 16 [2]).

    [0] He et al.: Masked Autoencoders Are Scalable Vision Learners, 2021.
    [1] Devlin et al.: BERT, 2018.
    [2] Xie et al.: SimMIM, 2021.
    """

    def __init__(
        self,
        context: Context,
        *,
        ratio: Annotated[Ratio, Field(description="share of masked tokens")],
        unit: Annotated[Size | tuple[Size, ...], Field(description="size of the cells that are masked together")] = 1,
    ) -> None:
        self.ratio, self.unit = ratio, unit
        for name in context.modalities:
            axes = context.specs[name].axes
            if isinstance(unit, tuple) and len(unit) != axes:
                raise ValueError(f"unit {list(unit)} has {len(unit)} sizes, but tokens of {name!r} have {axes} position axes")

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
        ratio = value_at(self.ratio, draw)
        if self.unit == 1:
            is_target = _subset(len(tokens), ratio, draw)
            return Masking(~is_target, is_target, level=ratio)
        # (L, A) cell of each token; ``np.unique`` numbers the distinct ones.
        cells = np.floor(np.asarray(tokens.positions) / np.asarray(self.unit)).astype(np.int64)
        names, cell = np.unique(cells, axis=0, return_inverse=True)
        is_target = _subset(len(names), ratio, draw)[cell.reshape(-1)]
        return Masking(~is_target, is_target, np.where(is_target, cell.reshape(-1), -1), level=ratio)

    def mask_batch(self, tokens: TokenColumns) -> MaskingColumns:
        """Mask all samples of a micro-batch at once."""
        ratio, kind = values_at(self.ratio, tokens.draws), np.zeros(tokens.num_samples, np.int64)
        if self.unit == 1:
            is_target = pick_each(tokens.lengths, num_hidden_each(tokens.lengths, ratio, tokens.draws), tokens.draws)
            return MaskingColumns(~is_target, is_target, tokens.lengths, ratio, kind)
        cells = np.floor(np.asarray(tokens.positions) / np.asarray(self.unit)).astype(np.int64)
        cell = numbered(_in_rows(cells), tokens.owner, tokens.num_samples)
        is_target = pick_each(cell.count, num_hidden_each(cell.count, ratio, tokens.draws), tokens.draws)[cell.place]
        return MaskingColumns(~is_target, is_target, tokens.lengths, ratio, kind, unit=np.where(is_target, cell.number, -1))


def _in_rows(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (n,) numbers from 0 in the lexicographic order of ``cells`` (n, A)."""
    cells = cells - cells.min(axis=0, initial=0)
    if math.prod((cells.max(axis=0, initial=0) + 1).tolist()) > _MOST_CELLS:
        return np.unique(cells, axis=0, return_inverse=True)[1].reshape(-1)
    number = np.zeros(len(cells), np.int64)
    for axis in range(cells.shape[1]):
        number = number * (int(cells[:, axis].max(initial=0)) + 1) + cells[:, axis]
    return number


def _subset(count: int, ratio: float, draw: Draw) -> NDArray[np.bool_]:
    """Return (count,) True for the hidden tokens or cells."""
    return pick(count, num_hidden(count, ratio, draw), draw)
