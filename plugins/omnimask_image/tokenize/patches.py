"""Shared helpers of patch tokenizers: options, cutting and joining."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from einops import rearrange
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from omnimask.interfaces import Tokens

Size = Annotated[int, Field(gt=0)]
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
ABSENT = 127
"""Grey value of missing patches in a joined image."""


def per_channel(
    mean: tuple[float, ...] | None, std: tuple[float, ...] | None, channels: Literal[1, 3]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return validated mean and standard deviation in units of the full range; ImageNet's for RGB and 0.5 for greyscale if None.

    Raises:
        ValueError: the number of values differs from the channels, or a deviation is not greater than 0.
    """
    mean = _checked("mean", mean, IMAGENET_MEAN if channels == 3 else (0.5,), channels)
    std = _checked("std", std, IMAGENET_STD if channels == 3 else (0.5,), channels)
    if min(std) <= 0:
        raise ValueError(f"std must be greater than 0, got {std}")
    return mean, std


def cut(pixels: NDArray[np.uint8], patch_size: tuple[int, int]) -> Tokens:
    """Cut a (h p, w q, C) image into patches (p, q, C), row by row, with their (row, column)."""
    p, q = patch_size
    patches = rearrange(pixels, "(h p) (w q) c -> h w p q c", p=p, q=q)
    positions = np.indices(patches.shape[:2], np.float32)
    return Tokens(np.ascontiguousarray(rearrange(patches, "h w p q c -> (h w) p q c")), rearrange(positions, "a h w -> (h w) a"))


def joined(tokens: Tokens, grid: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Join patches in any order to a (H, W, C) image; floats are rounded and clipped, missing patches are grey.

    ``grid`` is its rows and columns; None: the smallest that holds all patches.
    """
    content = np.asarray(tokens.content)
    if content.dtype != np.uint8:
        content = np.rint(content).clip(0, 255).astype(np.uint8)
    rows, columns = np.asarray(tokens.positions).astype(np.int64).T
    grid = grid or (int(rows.max(initial=0)) + 1, int(columns.max(initial=0)) + 1)
    patches = np.full((*grid, *content.shape[1:]), ABSENT, np.uint8)
    patches[rows, columns] = content
    return rearrange(patches, "h w p q c -> (h p) (w q) c")


def with_channels(image: Image.Image, channels: int) -> Image.Image:
    """Convert an RGB or greyscale image to 3 channels or 1."""
    mode = "RGB" if channels == 3 else "L"
    return image if image.mode == mode else image.convert(mode)


def check_not_smaller(height: int, width: int, patch_size: tuple[int, int]) -> None:
    """Refuse an image with a side shorter than a patch.

    Raises:
        ValueError: a side is shorter than a patch.
    """
    p, q = patch_size
    if height < p or width < q:
        raise ValueError(f"image is {height} x {width}, smaller than one patch of {p} x {q}")


def _checked(name: str, given: tuple[float, ...] | None, default: tuple[float, ...], channels: int) -> tuple[float, ...]:
    values = default if given is None else tuple(given)
    if len(values) != channels:
        raise ValueError(f"{name} needs one value per channel: {channels}, got {len(values)}")
    return values
