"""torchvision's way through a JPEG gives Pillow's pixels, and Pillow's reasons for what cannot be read."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import pytest
from PIL import Image

from omnimask.interfaces import Context, Decoder, ReadsShape
from omnimask_image.decode.pillow_decoder import PillowDecoder

pytest.importorskip("torchvision")
from omnimask_image.decode.torchvision_decoder import TorchvisionDecoder

decode, pillow = TorchvisionDecoder(Context()), PillowDecoder(Context())


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture() -> Image.Image:
    rows, columns = np.mgrid[0:24, 0:40]
    return Image.fromarray(np.stack([rows * 10, columns * 6, (rows + columns) * 3], 2).astype(np.uint8))


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture(), exif=exif)


FILES = {
    "colour": encoded(picture(), quality=95),
    "progressive": encoded(picture(), progressive=True),
    "without subsampling": encoded(picture(), subsampling=0),
    "greyscale": encoded(picture().convert("L")),
    "four inks": encoded(picture().convert("CMYK")),
    **{f"orientation {number}": turned(number) for number in range(1, 9)},
    "PNG": encoded(picture(), "PNG"),
    "transparent PNG": encoded(picture().convert("RGBA"), "PNG"),
    "WebP": encoded(picture(), "WEBP"),
}


@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_of_pillow(name: str) -> None:
    found, expected = decode(FILES[name]), pillow(FILES[name])
    assert found.dtype == np.uint8
    assert found.shape == expected.shape == pillow.shape(FILES[name])
    assert np.abs(found.astype(int) - expected).max() <= 1  # measured: 0; other builds of libjpeg may round otherwise
    assert found.flags.writeable


@pytest.mark.parametrize("name", ["colour", "greyscale"])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_a_file_that_is_cut_off_is_a_value_error(name: str, share: float) -> None:
    with pytest.raises(ValueError, match="not a readable image"):
        decode(FILES[name][: int(len(FILES[name]) * share)])


def test_it_is_a_decoder_that_workers_can_receive() -> None:
    again = pickle.loads(pickle.dumps(decode))  # noqa: S301
    assert isinstance(again, Decoder)
    assert isinstance(again, ReadsShape)
    assert np.array_equal(again(FILES["colour"]), decode(FILES["colour"]))
