"""Image files as pixels, by Pillow."""

from __future__ import annotations

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from omnimask.interfaces import Context
from omnimask_image.pixels import to_array

_RGB_MODES = ("1", "L", "RGB", "CMYK", "YCbCr", "LAB", "HSV", "P", "RGBX")
_MAX_16_BIT = 65535


class PillowDecoder:
    """Bytes of a file that Pillow reads (PNG, JPEG, WebP, GIF, BMP, TIFF, ...) -> (H, W, 3) uint8 RGB.

    The EXIF orientation is applied, transparency is laid on white, 16-bit greyscale is scaled to 8 bit. Of an animation, the
    first frame is taken.
    """

    def __init__(self, context: Context) -> None:
        pass

    def __call__(self, data: bytes) -> NDArray[np.uint8]:
        """(H, W, 3) uint8.

        Raises:
            ValueError: with Pillow's reason, when the bytes are no image, are cut off or broken, or unpack to more pixels than
                ``PIL.Image.MAX_IMAGE_PIXELS``; also for pixels whose range is unknown (floats, 32-bit integers).
        """
        if not data:
            raise ValueError("the file is empty")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(io.BytesIO(data)) as image:
                    image.load()
                    upright = ImageOps.exif_transpose(image)
        except MemoryError:
            raise
        except Exception as error:  # Pillow's readers raise whatever broken bytes lead them to
            raise ValueError(f"not a readable image: {_reason(error)}") from error
        return to_array(_rgb(upright))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_integers(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode not in _RGB_MODES:
        raise ValueError(f"pixels of Pillow's mode {image.mode} have no known range; convert the file to 8 or 16 bit")
    return image.convert("RGB")


def _from_integers(image: Image.Image) -> Image.Image:
    """Greyscale with 16 bits (Pillow's modes I;16 and, for some formats, I), scaled to 8 bits."""
    pixels = np.asarray(image).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > _MAX_16_BIT:
        raise ValueError(f"pixels range over {pixels.min()}..{pixels.max()}, more than 16 bits; convert the file to 8 or 16 bit")
    return Image.fromarray(np.rint(pixels * (255 / _MAX_16_BIT)).astype(np.uint8)).convert("RGB")


def _reason(error: Exception) -> str:
    """Pillow's own words, without the address of our buffer."""
    if "cannot identify image file" in str(error):
        return "cannot identify image file"
    return str(error) or type(error).__name__
