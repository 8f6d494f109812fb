"""Block masking with an exact number of tokens."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from omnimask.components.maskers.budget import num_hidden
from omnimask.components.maskers.grid_places import (
    PerAxis,
    axes_of,
    block_sides,
    check_range,
    grid_places,
    in_blocks,
    per_axis,
    starts_reaching,
)
from omnimask.interfaces import Context, Draw, Masking, Tokens
from omnimask.interfaces.schedules import Ratio, value_at

Positive = Annotated[float, Field(gt=0)]
_FIRST_BLOCKS = 16
_MOST_PAIRS = 2**22
"""Maximum number of (block, token) pairs compared at once, to bound memory."""
_MOST_PLACES = 64
"""Maximum size of the bounding box per token; beyond it, most of a block would contain no tokens."""
_UNREACHED = np.iinfo(np.int64).max


class BlockMasker:
    """Masking of n-dimensional blocks with an exact number of tokens (BEiT [0]), or of all but such blocks (data2vec 2.0 [1]).

    Works on tokens at integer positions with any number of axes. The grid is the bounding box of the sample's positions; it may
    have places without a token. Blocks of random shape and place are laid one after another, may overlap, and stop when the budget
    is spent. Excess tokens are drawn uniformly from those first covered by the last block, and given back. The number is therefore
    exact, without preference for any order of the tokens.

    Blocks may extend beyond the grid: along an axis of n places, the start of a block of side s is uniform over the n + s - 1
    places from -(s - 1) to n - 1. Every place, in a corner or in the middle, is thus covered by one block with the same probability
    q, the product of s / (n + s - 1) over the axes, and by K blocks with 1 - (1 - q)^K. (Blocks restricted to the grid, as in BEiT,
    cover place i of an axis with min(i + 1, n - i, s, n - s + 1) / (n - s + 1). Blocks of side 3 around a uniform place, as in the
    reference of data2vec 2.0, cover a corner 4/9 as often as the middle.)

    The mean coverage is exactly ``ratio``. Single places deviate, because laying stops at a number of tokens, not of blocks: the
    block that crosses the budget tends to lie in the middle, where it covers more. On 14 x 14 places the deviation is at most 2.5 %
    of the ratio for sides up to 6. It grows if one block exceeds the whole budget and most of it is given back. For a budget of one
    token, a place gets the product over the axes of (sum over the s blocks that cover it of 1 / their places inside the grid) / (n
    + s - 1), which for side 3 is 11/6 as much at the end of an axis as in its middle.

    Args:
        ratio: share of the tokens to hide, in (0, 1], or a schedule of it, as in the masker ``random``, also with ``inverse``.
        size: side of a block in tokens, one for all axes or one for each. Blocks larger than the grid are cut.
        max_size: largest side; sides are then uniform from ``size`` to it, independently per axis. None: ``size`` is the side.
        aspect: smallest and largest side along the first axis in units of the second, for two axes. The number of tokens of a block
            is then uniform between the products of ``size`` and of ``max_size``, and the logarithm of the aspect is uniform.
        inverse: blocks stay visible, and everything else is hidden.

    BEiT: ratio 0.4 of 14 x 14 patches, size 4 (16 patches at least), max_size 8, aspect (0.3, 3.3). data2vec 2.0 on images: ratio
    0.8, size 3, inverse.

    [0] Bao et al.: BEiT: BERT Pre-Training of Image Transformers, 2021, algorithm 1. [1] Baevski et al.: Efficient Self-supervised
    Learning with Contextualized Target Representations for Vision, Speech and Language, 2022; reference implementation fairseq.
    """

    def __init__(
        self,
        context: Context,
        *,
        ratio: Annotated[Ratio, Field(description="share of masked tokens")],
        size: Annotated[PerAxis, Field(description="side of a block in tokens, for all axes or for each")],
        max_size: Annotated[PerAxis | None, Field(description="maximum side; none: size is the side")] = None,
        aspect: Annotated[
            tuple[Positive, Positive] | None, Field(description="minimum and maximum aspect ratio; two axes only")
        ] = None,
        inverse: Annotated[bool, Field(description="keep blocks visible and mask the rest")] = False,
    ) -> None:
        self.ratio, self.size, self.aspect, self.inverse = ratio, size, aspect, inverse
        self.max_size = size if max_size is None else max_size
        if aspect is not None:
            check_range("aspect", *aspect)
        for axes in axes_of(context):
            self._sizes(axes)

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
        length = len(tokens)
        ratio = value_at(self.ratio, draw)
        hidden = num_hidden(length, ratio, draw)
        is_covered = self._covered(tokens, length - hidden if self.inverse else hidden, draw)
        is_visible = is_covered if self.inverse else ~is_covered
        return Masking(is_visible, ~is_visible, level=ratio)

    def _covered(self, tokens: Tokens, budget: int, draw: Draw) -> NDArray[np.bool_]:
        """Return (L,) the first ``budget`` covered tokens, drawn at random within the last block."""
        length = len(tokens)
        places, box = grid_places(tokens)
        if budget in (0, length):
            return np.full(length, budget > 0)
        volume = math.prod(box.tolist())
        if volume > _MOST_PLACES * length:
            raise ValueError(
                f"{length} tokens are spread over a grid of {' x '.join(map(str, box.tolist()))} places, more than "
                f"{_MOST_PLACES} for each token; use the masker random"
            )
        low, high = self._sizes(places.shape[1])
        first, bare = np.full(length, _UNREACHED), np.arange(length)
        laid, count = 0, _FIRST_BLOCKS
        # ``bare`` are the tokens not covered yet, ``first`` is the index of the first block that covers a token.
        while length - len(bare) < budget:
            # Blocks are laid in growing batches, limited by the pairs compared at once.
            count = min(count, max(_FIRST_BLOCKS, _MOST_PAIRS // len(bare)))
            inside = in_blocks(places[bare], *self._blocks(count, box, low, high, draw.at("blocks", laid)))
            earliest = inside.argmax(axis=1)
            is_reached = inside[np.arange(len(bare)), earliest]
            first[bare[is_reached]] = earliest[is_reached] + laid
            bare = bare[~is_reached]
            laid, count = laid + count, 2 * count
        is_covered = np.zeros(length, bool)
        # By block, and at random inside a block: the excess is given back by the last one.
        is_covered[np.lexsort((draw.uniform(length, "give back"), first))[:budget]] = True
        return is_covered

    def _blocks(
        self, count: int, box: NDArray[np.int32], low: NDArray[np.int32], high: NDArray[np.int32], draw: Draw
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return (K, A) starts and sides."""
        axes = len(box)
        uniform = draw.uniform(2 * axes * count, "shape and place").reshape(count, 2, axes)
        if self.aspect is not None:
            fewest, most = int(low.prod()), int(high.prod())
            spread = math.log(self.aspect[1] / self.aspect[0])
            area = fewest + np.floor(uniform[:, 0, 0] * (most - fewest + 1))
            sides = block_sides(area, box, self.aspect[0] * np.exp(uniform[:, 0, 1] * spread))
        else:
            sides = low + (uniform[:, 0] * (high - low + 1)).astype(np.int32)
        return starts_reaching(uniform[:, 1], box, sides), sides

    def _sizes(self, axes: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return (A,) smallest and largest sides.

        Raises:
            ValueError: the options do not fit tokens with this number of axes.
        """
        low, high = per_axis(self.size, axes, "size"), per_axis(self.max_size, axes, "max_size")
        if np.any(low > high):
            raise ValueError(f"max_size {self.max_size} is below size {self.size}")
        if self.aspect is not None and axes != 2:
            raise ValueError(f"aspect needs two axes, but the tokens have {axes}; remove it and set sizes")
        return low, high
