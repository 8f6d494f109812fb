"""Random crops and flips of an image, before tokenization."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from omnimask.interfaces import Context, Draw
from omnimask_image.pixels import checked, pair, to_array, to_pillow

Size = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Ratio = Annotated[float, Field(gt=0)]
_ATTEMPTS = 10


class RandomResizedCrop:
    """A random part of the image, resized (bicubic) to a fixed size [0]; MAE's recipe keeps 20 to 100 % of the area [1].

    Area and logarithm of the aspect ratio are uniform. If ten draws do not fit into the image, the largest centered part with an
    allowed ratio is used, as in torchvision.

    [0] Szegedy et al.: Going Deeper with Convolutions, CVPR 2015. [1] He et al.: Masked Autoencoders Are Scalable Vision Learners,
    CVPR 2022; reference implementation facebookresearch/mae.

    Pillow's filter, the default, also reads pixels beside the part, as much as its support. Torch's kernel for bytes reads the part
    only, as torchvision does, and takes a quarter of the time; its last bits may depend on the processor.

    Args:
        size: output size in pixels, or (height, width); use the tokenizer's ``image_size``.
        scale: minimum and maximum share of the area, in (0, 1].
        ratio: minimum and maximum aspect ratio (width / height) of the part, greater than 0.
        resize: ``pillow``, or ``torch`` for torch's antialiased kernel.
    """

    smoke: ClassVar[Mapping[str, Any]] = {"size": 32}

    def __init__(
        self,
        context: Context,
        *,
        size: Annotated[Size | tuple[Size, Size], Field(description="output size in pixels, or (height, width)")],
        scale: Annotated[tuple[Share, Share], Field(description="minimum and maximum share of the area")] = (0.2, 1.0),
        ratio: Annotated[tuple[Ratio, Ratio], Field(description="minimum and maximum aspect ratio (width / height)")] = (
            3 / 4,
            4 / 3,
        ),
        resize: Annotated[Literal["pillow", "torch"], Field(description="library that resizes; torch is faster")] = "pillow",
    ) -> None:
        for name, (low, high) in (("scale", scale), ("ratio", ratio)):
            if low > high:
                raise ValueError(f"{name} must be (minimum, maximum), got ({low:g}, {high:g})")
        self.size = pair(size)
        self.scale = scale
        self.ratio = ratio
        self.resize = resize

    def __call__(self, raw: Any, draw: Draw) -> NDArray[np.uint8]:
        """Crop and resize a (H, W) or (H, W, C) uint8 array to (height, width, C) uint8."""
        pixels = checked(raw)
        height, width, _ = pixels.shape
        top, left, rows, columns = self.box(height, width, draw)
        if self.resize == "torch":
            return _resized_by_torch(pixels[top : top + rows, left : left + columns], self.size)
        part = (left, top, left + columns, top + rows)
        return to_array(to_pillow(raw).resize((self.size[1], self.size[0]), Image.Resampling.BICUBIC, box=part))

    def box(self, height: int, width: int, draw: Draw) -> tuple[int, int, int, int]:
        """Return (top, left, height, width) in pixels of the part to keep."""
        rng = draw.rng("crop")
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(_ATTEMPTS):
            area = height * width * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(low, high))
            rows, columns = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < rows <= height and 0 < columns <= width:
                return int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1)), rows, columns
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        rows, columns = max(1, min(height, round(width / ratio))), max(1, min(width, round(height * ratio)))
        return (height - rows) // 2, (width - columns) // 2, rows, columns


def _resized_by_torch(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize a (H, W, C) uint8 array to (height, width, C) with torch's antialiased bicubic kernel for bytes."""
    import torch

    if not pixels.flags.writeable or min(pixels.strides) < 0:  # torch refuses such arrays
        pixels = np.array(pixels)
    image = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)  # channels last, as the fast kernel needs them
    resized = torch.nn.functional.interpolate(image, size, mode="bicubic", antialias=True, align_corners=False)
    return np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy())


class RandomCrop:
    """A random window of at most this size, without resizing. A smaller side is kept whole.

    For large images of any size: with ``image.native``, ``max_tokens`` does not reduce a window of at most this many patches.
    Validation images are not cropped, but reduced as a whole.

    Args:
        size: maximum side in pixels, or (height, width).
    """

    smoke: ClassVar[Mapping[str, Any]] = {"size": 8}

    def __init__(
        self,
        context: Context,
        *,
        size: Annotated[Size | tuple[Size, Size], Field(description="maximum side in pixels, or (height, width)")],
    ) -> None:
        self.size = pair(size)

    def __call__(self, raw: Any, draw: Draw) -> NDArray[np.uint8]:
        """Crop a (H, W) or (H, W, C) uint8 array to (min(H, height), min(W, width), C) uint8."""
        pixels = checked(raw)
        height, width, _ = pixels.shape
        rows, columns = min(height, self.size[0]), min(width, self.size[1])
        rng = draw.rng("crop")
        top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
        return np.ascontiguousarray(pixels[top : top + rows, left : left + columns])


class Flip:
    """Random left-right mirroring of the image.

    Args:
        probability: share of mirrored visits, in [0, 1].
    """

    def __init__(
        self,
        context: Context,
        *,
        probability: Annotated[float, Field(ge=0, le=1, description="probability of a flip")] = 0.5,
    ) -> None:
        self.probability = probability

    def __call__(self, raw: Any, draw: Draw) -> NDArray[np.uint8]:
        """Return the (H, W, C) uint8 array, mirrored or unchanged."""
        pixels = checked(raw)
        if draw.uniform(1, "flip")[0] >= self.probability:
            return pixels
        mirrored = np.empty(pixels.shape, pixels.dtype)
        for channel in range(pixels.shape[2]):  # a quarter of the time of a copy pixel by pixel
            mirrored[:, :, channel] = pixels[:, ::-1, channel]
        return mirrored
