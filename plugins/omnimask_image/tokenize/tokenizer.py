"""Images as a grid of patches [0].

[0] Dosovitskiy et al.: An Image is Worth 16x16 Words, ICLR 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import Field

from omnimask.interfaces import Context, Draw, Tokens, TokenSpec
from omnimask_image.pixels import checked, pair, to_array, to_pillow
from omnimask_image.tokenize.patches import Size, check_not_smaller, cut, joined, per_channel, with_channels


class PatchTokenizer:
    """Patches of images of one size; pixels stay uint8 until the device.

    A token's content is (p, q, C) uint8, its position (row, column) in patches. An image of another size is resized (bicubic) until
    it just covers ``image_size``, and the center is kept; an image of this size is used unchanged.

    Args:
        image_size: side of the square in pixels, or (height, width); a multiple of ``patch_size``.
        patch_size: side of the square in pixels, or (height, width).
        channels: 3 for RGB, 1 for greyscale; images of the other kind are converted.
        mean: per channel, in units of the full range, 0..1. None: ImageNet's for RGB, 0.5 for greyscale.
        std: likewise.
    """

    decoder: ClassVar[str | None] = "image.pillow"
    embedded: ClassVar[str | None] = "digits"
    renderer: ClassVar[str | None] = "image.grid"

    def __init__(
        self,
        context: Context,
        *,
        image_size: Annotated[Size | tuple[Size, Size], Field(description="side in pixels, or (height, width)")] = 224,
        patch_size: Annotated[Size | tuple[Size, Size], Field(description="side in pixels, or (height, width)")] = 16,
        channels: Annotated[Literal[1, 3], Field(description="3: RGB, 1: grayscale")] = 3,
        mean: Annotated[tuple[float, ...] | None, Field(description="per channel, in 0..1")] = None,
        std: Annotated[tuple[float, ...] | None, Field(description="per channel, in 0..1")] = None,
    ) -> None:
        self.image_size = pair(image_size)
        self.patch_size = pair(patch_size)
        self.channels = channels
        self.grid = _grid(self.image_size, self.patch_size)
        self.mean, self.std = per_channel(mean, std, channels)

    @staticmethod
    def smoke(options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return patches of at most 8 pixels, at most four per row and column, in the recipe's aspect ratio."""
        image_size, patch_size = pair(options["image_size"]), pair(options["patch_size"])
        small = tuple(min(side, 8) for side in patch_size)
        counts = (min(side // patch, 4) for side, patch in zip(image_size, patch_size, strict=True))
        return {"image_size": tuple(n * side for n, side in zip(counts, small, strict=True)), "patch_size": small}

    @cached_property
    def spec(self) -> TokenSpec:
        """Patches of (p, q, C) uint8 on a bounded grid with two axes."""
        mean, std = tuple(255 * value for value in self.mean), tuple(255 * value for value in self.std)
        return TokenSpec(width=(*self.patch_size, self.channels), axes=2, extent=self.grid, dtype="uint8", mean=mean, std=std)

    def __call__(self, raw: Any, draw: Draw) -> Tokens:
        """Return tokens of a (H, W) or (H, W, C) uint8 array, row by row. Nothing is random.

        Raises:
            ValueError: the array is not such an image, or a side is shorter than a patch.
        """
        return cut(self._fitted(checked(raw)), self.patch_size)

    def decode(self, tokens: Tokens) -> NDArray[np.uint8]:
        """Return the (H, W, C) uint8 image of patches in any order; floats are rounded and clipped, missing patches are grey."""
        return joined(tokens, self.grid)

    def count(self, raw: Any) -> int:
        """Return the number of tokens, which is equal for all images."""
        return self.grid[0] * self.grid[1]

    def _fitted(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return (H, W, C) with this tokenizer's size and channels."""
        height, width, channels = pixels.shape
        check_not_smaller(height, width, self.patch_size)
        if (height, width) == self.image_size and channels == self.channels:
            return pixels
        image = with_channels(to_pillow(pixels), self.channels)
        if (height, width) != self.image_size:
            image = ImageOps.fit(image, (self.image_size[1], self.image_size[0]), Image.Resampling.BICUBIC)
        return to_array(image)


def _grid(image_size: tuple[int, int], patch_size: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of patches."""
    (height, width), (p, q) = image_size, patch_size
    if height % p or width % q:
        nearest = max(1, round(height / p)) * p, max(1, round(width / q)) * q
        raise ValueError(
            f"an image of {height} x {width} pixels cannot be divided into patches of {p} x {q}; "
            f"set image_size to {nearest[0]} x {nearest[1]}, or choose a patch_size that divides it"
        )
    return height // p, width // q
