"""Images at their own size and aspect ratio, as grids with varying numbers of patches [0], [1].

[0] Dehghani et al.: Patch n' Pack: NaViT, a Vision Transformer for any Aspect Ratio and Resolution, NeurIPS 2023.
[1] Lee et al.: Pix2Struct, ICML 2023.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from omnimask.interfaces import Context, Draw, Tokens, TokenSpec
from omnimask_image.pixels import checked, pair, to_array, to_pillow
from omnimask_image.tokenize.patches import Size, check_not_smaller, cut, joined, per_channel, with_channels

_BISECTIONS = 50
"""Bisection steps of the range of scales, which leave a relative width of about 1e-14."""


class NativeTokenizer:
    """Patches of images at their own size and aspect ratio; the number of tokens varies.

    A token's content is (p, q, C) uint8, its position (row, column) in patches, on two unbounded axes. Each side is resized
    (bicubic) to the nearest multiple of the patch's; an image of such a size is used unchanged. If this gives more than
    ``max_tokens``, the image is first reduced by the minimum necessary; if it gives fewer than ``min_tokens``, it is enlarged
    likewise. The sides of the grid therefore differ by at most half a patch from those of the uniformly scaled image, the only
    change of its aspect ratio. Images too long for ``max_tokens`` within this bound, with a ratio above about ``2 * max_tokens``,
    are refused, as are those with a side shorter than a patch.

    Positions ``sincos`` and ``rotary`` are unbounded. ``learned`` keeps a vector for each of ``max_length * max_length`` places:
    set its ``max_length`` to the longest side of the images, in patches.

    Args:
        patch_size: side of the square in pixels, or (height, width).
        max_tokens: maximum number of patches per image.
        min_tokens: minimum number of patches per image, unless the smallest grid of this shape with as many exceeds ``max_tokens``.
        channels: 3 for RGB, 1 for greyscale; images of the other kind are converted.
        mean: per channel, in units of the full range, 0..1. None: ImageNet's for RGB, 0.5 for greyscale.
        std: likewise.
    """

    decoder: ClassVar[str | None] = "image.pillow"
    embedded: ClassVar[str | None] = "digits"
    renderer: ClassVar[str | None] = "image.grid"
    smoke: ClassVar[Mapping[str, Any]] = {"patch_size": 2, "max_tokens": 16, "min_tokens": 1}

    def __init__(
        self,
        context: Context,
        *,
        patch_size: Annotated[Size | tuple[Size, Size], Field(description="side in pixels, or (height, width)")] = 16,
        max_tokens: Annotated[int, Field(gt=0, description="maximum patches per image")] = 256,
        min_tokens: Annotated[int, Field(gt=0, description="minimum patches per image; smaller images are enlarged")] = 1,
        channels: Annotated[Literal[1, 3], Field(description="3: RGB, 1: grayscale")] = 3,
        mean: Annotated[tuple[float, ...] | None, Field(description="per channel, in 0..1")] = None,
        std: Annotated[tuple[float, ...] | None, Field(description="per channel, in 0..1")] = None,
    ) -> None:
        if min_tokens > max_tokens:
            raise ValueError(f"min_tokens {min_tokens} must be at most max_tokens {max_tokens}")
        self.patch_size = pair(patch_size)
        self.max_tokens, self.min_tokens, self.channels = max_tokens, min_tokens, channels
        self.mean, self.std = per_channel(mean, std, channels)

    @cached_property
    def spec(self) -> TokenSpec:
        """Patches of (p, q, C) uint8 on two unbounded axes."""
        mean, std = tuple(255 * value for value in self.mean), tuple(255 * value for value in self.std)
        width = (*self.patch_size, self.channels)
        return TokenSpec(width=width, axes=2, extent=(None, None), dtype="uint8", mean=mean, std=std)

    def __call__(self, raw: Any, draw: Draw) -> Tokens:
        """Return tokens of a (H, W) or (H, W, C) uint8 array, row by row. Nothing is random.

        Raises:
            ValueError: the array is not such an image, a side is shorter than a patch, or it is too long for ``max_tokens``.
        """
        pixels = checked(raw)
        (height, width, channels), (p, q) = pixels.shape, self.patch_size
        h, w = self.grid(height, width)
        if (height, width, channels) != (h * p, w * q, self.channels):
            image = with_channels(to_pillow(pixels), self.channels)
            pixels = to_array(image.resize((w * q, h * p), Image.Resampling.BICUBIC))
        return cut(pixels, self.patch_size)

    def decode(self, tokens: Tokens) -> NDArray[np.uint8]:
        """Return the (H, W, C) uint8 image of patches in any order, on the smallest grid that holds them all.

        As in ``image.patch``, floats are rounded and clipped, and missing patches are grey.
        """
        return joined(tokens)

    def count(self, raw: Any) -> int | None:
        """Return the count from the array's size alone, or None before it is read."""
        return None if raw is None else self.count_of_shape(checked(raw).shape)

    def count_of_shape(self, shape: tuple[int, ...]) -> int:
        """Return the number of tokens of a (H, W) or (H, W, C) array.

        Raises:
            ValueError: as :meth:`grid`.
        """
        h, w = self.grid(shape[0], shape[1])
        return h * w

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return rows and columns of patches of an image of (height, width) pixels.

        Raises:
            ValueError: a side is shorter than a patch, or the image is too long for ``max_tokens``.
        """
        check_not_smaller(height, width, self.patch_size)
        rows, columns = height / self.patch_size[0], width / self.patch_size[1]

        def count(scale: float) -> int:
            return math.prod(_rounded(rows, columns, scale))

        scale = 1.0
        if count(scale) < self.min_tokens:
            scale = _bisect(lambda scale: count(scale) >= self.min_tokens, 1, self.min_tokens)[1]
        smallest = 0.5 / min(rows, columns)
        if count(scale) > self.max_tokens:
            if count(smallest) > self.max_tokens:
                raise ValueError(
                    f"image is {height} x {width}, but max_tokens {self.max_tokens} patches cannot preserve its "
                    f"aspect ratio within half a patch; set at least {count(smallest)}"
                )
            scale = _bisect(lambda scale: count(scale) > self.max_tokens, smallest, scale)[0]
        return _rounded(rows, columns, scale)


def _rounded(rows: float, columns: float, scale: float) -> tuple[int, int]:
    """Return the integers nearest to the scaled sides, at least 1."""
    return max(1, math.floor(rows * scale + 0.5)), max(1, math.floor(columns * scale + 0.5))


def _bisect(holds: Callable[[float], bool], low: float, high: float) -> tuple[float, float]:
    """Bisect scales between ``low``, where the monotone predicate is false, and ``high``, where it is true.

    Returns the largest scale where it is false, and the smallest where it is true.
    """
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return low, high
