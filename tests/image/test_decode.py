"""Real files of every odd mode become (H, W, 3) uint8; broken ones are ValueErrors with a reason."""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from omnimask.interfaces import Context, Decoder
from omnimask_datasets.shards.names import FIELDS
from omnimask_image.decode.pillow_decoder import PillowDecoder

decode = PillowDecoder(Context())


def picture(height: int = 24, width: int = 40) -> NDArray[np.uint8]:
    """Smooth, so that lossy formats stay close, and different in every channel and corner."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 255 // height, columns * 255 // width, (rows + columns) * 3], 2).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


RGB = Image.fromarray(picture())


def test_it_is_a_decoder_that_workers_can_receive() -> None:
    again = pickle.loads(pickle.dumps(decode))  # noqa: S301
    assert isinstance(again, Decoder)
    result = again(encoded(RGB, "PNG"))
    assert result.flags.writeable


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {}), ("PPM", {})])
def test_lossless_formats_are_exact(kind: str, options: dict[str, Any]) -> None:
    assert np.array_equal(decode(encoded(RGB, kind, **options)), picture())


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats_are_close(kind: str) -> None:
    difference = np.abs(decode(encoded(RGB, kind, quality=95)).astype(int) - picture())
    assert difference.mean() < 2  # measured: 0.84 (JPEG) and 1.29 (WebP)


def test_grey_and_bilevel_images_become_rgb() -> None:
    grey = Image.fromarray(picture()[:, :, 0])
    assert np.array_equal(decode(encoded(grey, "PNG")), np.repeat(picture()[:, :, :1], 3, 2))
    black_and_white = decode(encoded(grey.point(lambda v: 255 * (v > 127)).convert("1"), "PNG"))
    assert set(np.unique(black_and_white)) == {0, 255}


def test_palettes_are_looked_up() -> None:
    palette = RGB.quantize(16)
    expected = np.array(palette.convert("RGB"))
    assert np.array_equal(decode(encoded(palette, "GIF")), expected)
    assert np.array_equal(decode(encoded(palette, "PNG")), expected)


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.array_equal(decode(data), np.full((8, 8, 3), (255, 0, 0)))


def test_transparency_is_laid_on_white() -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:, 2:, 3] = 255
    pixels[:, 1, 3] = 51  # a fifth of black on white is 204
    for kind in ("PNG", "TIFF"):
        assert decode(encoded(Image.fromarray(pixels), kind))[0, :, 0].tolist() == [255, 204, 0, 0]
    grey = Image.fromarray(pixels).convert("LA")
    assert decode(encoded(grey, "PNG"))[0, :, 1].tolist() == [255, 204, 0, 0]


def test_a_transparent_palette_colour_is_white() -> None:
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((0, 0), 0)
    for kind in ("GIF", "PNG"):
        result = decode(encoded(palette, kind, transparency=0))
        assert result[0, 0].tolist() == [255, 255, 255]
        assert result[1, 1].tolist() == [0, 0, 255]


def test_a_transparent_colour_of_rgb_is_white() -> None:
    image = Image.new("RGB", (2, 2), "red")
    image.putpixel((0, 0), (0, 255, 0))
    result = decode(encoded(image, "PNG", transparency=(0, 255, 0)))
    assert result[0].tolist() == [[255, 255, 255], [255, 0, 0]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_greyscale_is_scaled(kind: str) -> None:
    values = np.array([[0, 257, 128 * 257, 65535], [128, 129, 256, 65280]], np.uint16)
    result = decode(encoded(Image.fromarray(values), kind))
    assert result[:, :, 0].tolist() == [[0, 1, 128, 255], [0, 1, 1, 254]]


def test_cmyk_becomes_rgb() -> None:
    cmyk = RGB.convert("CMYK")
    difference = np.abs(decode(encoded(cmyk, "JPEG", quality=95)).astype(int) - np.array(cmyk.convert("RGB")))
    assert difference.mean() < 0.3  # measured: 0.12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(orientation: int) -> None:
    """The eight orientations of the EXIF standard, by what has to be done to the stored pixels."""
    turns = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain, turned = decode(encoded(RGB, "JPEG", quality=95)), decode(encoded(RGB, "JPEG", quality=95, exif=exif))
    assert np.array_equal(turned, turns[orientation](plain))


@pytest.mark.parametrize(("kind", "share"), [("PNG", 0.6), ("JPEG", 0.6), ("WEBP", 0.6), ("BMP", 0.6), ("TIFF", 0.6), ("GIF", 0.6)])
def test_truncated_files_are_errors(kind: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    data = encoded(noise, kind)
    with pytest.raises(ValueError, match="not a readable image: "):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("data", [b"", b"\x00" * 100, b"not an image", encoded(RGB, "PNG")[:8], encoded(RGB, "JPEG")[:3]])
def test_bytes_that_are_no_image_are_errors(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a readable image: |the file is empty") as caught:
        decode(data)
    assert "BytesIO" not in str(caught.value)


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_a_decompression_bomb_is_an_error_before_it_unpacks(side: int) -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    with pytest.raises(ValueError, match="could be decompression bomb DOS attack"):
        decode(data)


def test_pixels_of_unknown_range_are_errors() -> None:
    with pytest.raises(ValueError, match="mode F have no known range"):
        decode(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"))
    with pytest.raises(ValueError, match=r"range over -5\.\.70000, more than 16 bits"):
        decode(encoded(Image.fromarray(np.array([[-5, 70000]], np.int32)), "TIFF"))


def test_damaged_files_raise_nothing_but_value_errors() -> None:
    """A flipped byte may go unseen, be an error, but nothing else."""
    rng = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"):
        data = encoded(RGB, kind)
        for _ in range(40):
            damaged = bytearray(data)
            for place in rng.integers(0, len(data), 3):
                damaged[place] = int(rng.integers(256))
            with contextlib.suppress(ValueError):
                assert decode(bytes(damaged)).dtype == np.uint8


def test_it_names_the_endings_that_pillow_reads() -> None:
    Image.init()
    others = {"BUFR", "GRIB", "HDF5", "WMF", "EPS", "MPEG", "IPTC"}  # need another program, or hold no picture
    known = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN and kind not in others}
    assert set(PillowDecoder.extensions) == known - {".pfm"}  # floats
    assert {f".{ending}" for ending in FIELDS["image"]} == {*PillowDecoder.extensions, ".img"}


def test_the_most_pixels_are_an_option() -> None:
    data = encoded(RGB, "PNG")
    with pytest.raises(ValueError, match=r"more than 900 pixels .*max_pixels: 1000000000"):
        PillowDecoder(Context(), max_pixels=900)(data)
    with pytest.raises(ValueError, match="more than 900 pixels"):
        PillowDecoder(Context(), max_pixels=900).shape(data)
    assert PillowDecoder(Context(), max_pixels=24 * 40)(data).shape == (24, 40, 3)
    assert Image.MAX_IMAGE_PIXELS == 89_478_485
