"""JPEG files as pixels, by torchvision; all others by Pillow."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.io import ImageReadMode, decode_jpeg

from omnimask_image.decode.pillow_decoder import PillowDecoder

_JPEG = b"\xff\xd8\xff"


class TorchvisionDecoder(PillowDecoder):
    """Bytes of a file that Pillow reads -> (H, W, 3) uint8 RGB; JPEG takes torchvision's faster way to the same pixels.

    The EXIF orientation is applied there too. Where torchvision refuses a JPEG, Pillow has the last word.

    Args:
        max_pixels: a file that unpacks to more is bad, since a small file can unpack to more than memory holds.
    """

    def __call__(self, data: bytes) -> NDArray[np.uint8]:
        """(H, W, 3) uint8. Raises ``ValueError`` as :class:`PillowDecoder` does."""
        if not data.startswith(_JPEG):
            return super().__call__(data)
        self.shape(data)  # refuses more pixels than are read
        try:
            pixels = decode_jpeg(
                torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB, apply_exif_orientation=True
            )
        except RuntimeError:
            return super().__call__(data)
        assert isinstance(pixels, torch.Tensor)
        return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
