"""Image decoder based on torchvision for JPEG files, and Pillow for all others."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.io import ImageReadMode, decode_jpeg

from omnimask_image.decode.pillow_decoder import PillowDecoder

_JPEG = b"\xff\xd8\xff"


class TorchvisionDecoder(PillowDecoder):
    """Bytes of a file supported by Pillow -> (H, W, 3) uint8 RGB, with torchvision's faster JPEG decoder for the same pixels.

    The EXIF orientation is applied there too. If torchvision refuses a JPEG, Pillow decodes it.

    Args:
        max_pixels: a file that decodes to more is bad, because a small file can exceed the memory.
    """

    def __call__(self, data: bytes) -> NDArray[np.uint8]:
        """Return (H, W, 3) uint8. Raise ``ValueError`` like :class:`PillowDecoder`."""
        if not data.startswith(_JPEG):
            return super().__call__(data)
        self.shape(data)  # refuses more than max_pixels
        try:
            pixels = decode_jpeg(
                torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB, apply_exif_orientation=True
            )
        except RuntimeError:
            return super().__call__(data)
        assert isinstance(pixels, torch.Tensor)
        return pixels.permute(1, 2, 0).numpy()  # a view: what follows copies a part of it, or all
