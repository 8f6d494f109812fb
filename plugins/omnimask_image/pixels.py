"""Conversion between pixel arrays and Pillow's images, and validation of raw images for the whole plugin."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def checked(raw: Any) -> NDArray[np.uint8]:
    """Return ``raw`` as (H, W, C) with C 1 or 3, without a copy.

    Args:
        raw: (H, W) or (H, W, C) uint8 array, 0..255.

    Raises:
        ValueError: anything else; values are never rescaled by guess.
    """
    if not isinstance(raw, np.ndarray):
        raise ValueError(f"an image must be a uint8 array of shape (H, W) or (H, W, C), got {type(raw).__name__}")
    if raw.dtype != np.uint8:
        raise ValueError(f"an image must be a uint8 array with values in 0..255, got {raw.dtype}; scale and convert it first")
    if raw.ndim == 2:
        raw = raw[:, :, None]
    if raw.ndim != 3 or raw.shape[2] not in (1, 3) or 0 in raw.shape:
        raise ValueError(f"an image must have shape (H, W), (H, W, 1) or (H, W, 3), got {raw.shape}")
    return raw


def to_pillow(raw: Any) -> Image.Image:
    """Convert a raw array (see :func:`checked`) to a greyscale or RGB image."""
    pixels = checked(raw)
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))


def to_array(image: Image.Image) -> NDArray[np.uint8]:
    """Convert a greyscale or RGB image to a writable (H, W, C) uint8 array."""
    return checked(np.array(image))


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) from a square's side, or the pair itself."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])
