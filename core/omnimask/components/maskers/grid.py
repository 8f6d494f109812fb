"""Regular grid sampling of visible tokens."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.components.maskers.grid_places import PerAxis, axes_of, grid_places, lowest_corners, per_axis
from omnimask.interfaces import Context, Draw, Masking, MaskingColumns, TokenColumns, Tokens

Phase = Annotated[int, Field(ge=0)]


class GridMasker:
    """Masking of all but one place of every cell of a regular grid (the grid sampling of MAE's ablation [0]).

    Works on tokens at integer positions with any number of axes, counted from the lowest corner of the sample's bounding box. With
    a drawn phase every token stays visible with probability 1 / (product of the strides) exactly, independent of its position. The
    number of visible tokens varies only through the sample's border, and not at all if the strides divide the sides of a full grid.
    With a fixed phase all samples of one shape are masked alike, and a sample of at most the phase's length shows nothing.

    Args:
        stride: side of a cell in tokens, one for all axes or one for each (1 keeps every place along the axis). 2 on images hides
            75 %.
        phase: place of the visible token inside its cell, one for all axes or one for each, below the stride. None: drawn for every
            sample.

    [0] He et al.: Masked Autoencoders Are Scalable Vision Learners, 2021, table 1f.
    """

    def __init__(
        self,
        context: Context,
        *,
        stride: Annotated[PerAxis, Field(description="side of a cell in tokens, for all axes or for each")] = 2,
        phase: Annotated[
            Phase | tuple[Phase, ...] | None, Field(description="position of the visible token in its cell; none: random")
        ] = None,
    ) -> None:
        self.stride, self.phase = stride, phase
        for axes in axes_of(context):
            self._fixed_phase(per_axis(stride, axes, "stride"))

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
        places, _ = grid_places(tokens)
        axes = places.shape[1]
        stride = per_axis(self.stride, axes, "stride")
        phase = self._fixed_phase(stride)
        if phase is None:
            phase = (draw.uniform(axes, "phase") * stride).astype(np.int32)
        is_visible = (places % stride == phase).all(axis=1)
        return Masking(is_visible, ~is_visible, level=1 - 1 / math.prod(stride.tolist()))

    def mask_batch(self, tokens: TokenColumns) -> MaskingColumns:
        """Mask all samples of a micro-batch at once."""
        places = (np.asarray(tokens.positions) - lowest_corners(tokens)).astype(np.int32)
        axes = places.shape[1]
        stride = per_axis(self.stride, axes, "stride")
        phase = self._fixed_phase(stride)
        if phase is None:
            uniform = tokens.draws.uniform(np.full(tokens.num_samples, axes), "phase").reshape(-1, axes)
            phase = (uniform * stride).astype(np.int32)[tokens.owner]
        is_visible = (places % stride == phase).all(axis=1)
        level = np.full(tokens.num_samples, 1 - 1 / math.prod(stride.tolist()))
        return MaskingColumns(is_visible, ~is_visible, tokens.lengths, level, np.zeros(tokens.num_samples, np.int64))

    def _fixed_phase(self, stride: NDArray[np.int32]) -> NDArray[np.int32] | None:
        """Return the fixed phase (A,), or None if it is drawn.

        Raises:
            ValueError: it does not fit the stride.
        """
        if self.phase is None:
            return None
        phase = per_axis(self.phase, len(stride), "phase")
        if np.any(phase >= stride):
            raise ValueError(f"phase {self.phase} must be less than stride {self.stride}")
        return phase
