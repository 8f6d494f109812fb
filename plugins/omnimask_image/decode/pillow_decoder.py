"""Image decoder based on Pillow."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from pydantic import Field

from omnimask.interfaces import Context
from omnimask_image.pixels import to_array

_RGB_MODES = ("1", "L", "RGB", "CMYK", "YCbCr", "LAB", "HSV", "P", "RGBX")
_MAX_16_BIT = 65535
_SIZE_IN_HEADER = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""Formats whose size does not change when pixels are read (an ICO or a photo CD has several)."""
_PNG_ORIENTATION = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
"""Chunks of a PNG that may contain an orientation, at any place."""
_TURNED = (5, 6, 7, 8)
"""EXIF orientations that swap height and width."""


class PillowDecoder:
    """Bytes of a file supported by Pillow (PNG, JPEG, WebP, AVIF, GIF, BMP, TIFF, ...) -> (H, W, 3) uint8 RGB.

    The EXIF orientation is applied, transparency is composited on white, and 16-bit greyscale is scaled to 8 bits. Of an animation,
    the first frame is used.

    Args:
        max_pixels: a file that decodes to more is bad, because a small file can exceed the memory. Satellite and microscopy images
            need more than the default, which is Pillow's.
    """

    extensions: ClassVar[tuple[str, ...]] = (
        ".apng", ".avif", ".avifs", ".blp", ".bmp", ".bw", ".cur", ".dcx", ".dds", ".dib", ".fit", ".fits", ".flc", ".fli",
        ".ftc", ".ftu", ".gbr", ".gif", ".icb", ".icns", ".ico", ".im", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe",
        ".jpeg", ".jpf", ".jpg", ".jpx", ".msp", ".pbm", ".pcd", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".pxr",
        ".qoi", ".ras", ".rgb", ".rgba", ".sgi", ".tga", ".tif", ".tiff", ".vda", ".vst", ".webp", ".xbm", ".xpm",
    )  # fmt: skip
    """Supported file endings: those of Pillow 12 except formats that need another program, or hold no picture or only floats."""

    def __init__(self, context: Context, *, max_pixels: Annotated[int, Field(gt=0)] = 89_478_485) -> None:
        del context
        self.max_pixels = max_pixels

    def __call__(self, data: bytes) -> NDArray[np.uint8]:
        """Return (H, W, 3) uint8.

        Raises:
            ValueError: with Pillow's reason, if the bytes are not an image, are truncated or broken, or decode to more than
                ``max_pixels``; also for pixels of unknown range (floats, 32-bit integers).
        """
        with _opened(data, self.max_pixels) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
        return to_array(_rgb(image))

    def shape(self, data: bytes) -> tuple[int, int, int]:
        """Return (H, W, 3) of the decoded array, from the file's header if Pillow's reader finds it there.

        Raises:
            ValueError: the bytes are not an image. Damage after the header is not detected.
        """
        with _opened(data, self.max_pixels) as image:
            if image.format not in _SIZE_IN_HEADER:
                return self(data).shape  # pyright: ignore[reportReturnType]
            width, height = image.size
            return (width, height, 3) if _is_turned(image, data) else (height, width, 3)


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[Image.Image]:
    """Open the image without reading its pixels, and convert Pillow's errors to ``ValueError`` with their reason."""
    if not data:
        raise ValueError("the file is empty")
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                yield image
    except MemoryError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(
            f"the image has more than {max_pixels:,} pixels ({_reason(error)}); if you trust it, raise the limit: "
            f"decoder: {{name: image.pillow, max_pixels: 1000000000}}"
        ) from error
    except Exception as error:  # Pillow's readers raise arbitrary errors on broken bytes
        raise ValueError(f"not a readable image: {_reason(error)}") from error
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _is_turned(image: Image.Image, data: bytes) -> bool:
    """Return whether the EXIF orientation swaps the sides. Pillow reads a whole PNG to find it, so its names are searched first."""
    if image.format == "TIFF" or (image.format == "PNG" and not any(name in data for name in _PNG_ORIENTATION)):
        return False  # TIFF: the size already includes the orientation
    return image.getexif().get(ExifTags.Base.Orientation) in _TURNED


def _rgb(image: Image.Image) -> Image.Image:
    """Convert the image to RGB; an RGB image without a transparent color is returned itself."""
    if image.mode.startswith("I"):
        return _from_integers(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode not in _RGB_MODES:
        raise ValueError(f"pixels of Pillow's mode {image.mode} have no known range; convert the file to 8 or 16 bit")
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_integers(image: Image.Image) -> Image.Image:
    """Scale 16-bit greyscale (Pillow's modes I;16 and, for some formats, I) to 8 bits."""
    pixels = np.asarray(image).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > _MAX_16_BIT:
        raise ValueError(f"pixels range over {pixels.min()}..{pixels.max()}, more than 16 bits; convert the file to 8 or 16 bit")
    return Image.fromarray(np.rint(pixels * (255 / _MAX_16_BIT)).astype(np.uint8)).convert("RGB")


def _reason(error: Exception) -> str:
    """Return Pillow's own words, without the address of our buffer."""
    if "cannot identify image file" in str(error):
        return "cannot identify image file"
    return str(error) or type(error).__name__
