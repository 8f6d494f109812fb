"""Image folders, and pictures of reconstructions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omnimask.interfaces import Context, Reconstruction, Renderer
from omnimask_image import show
from omnimask_image.data.files import ImageFolder
from omnimask_image.decode.pillow_decoder import PillowDecoder
from omnimask_image.show import ImageGrid


def reconstruction(key: str, height: int, width: int, channels: int) -> Reconstruction:
    shape = (height, width, channels)
    first, second, third = (np.full(shape, value, np.uint8) for value in (255, 127, 0))
    return Reconstruction(key, first, second, third)


def test_a_folder_of_images_gives_files_for_the_decoder(tmp_path: Path) -> None:
    pixels = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    (tmp_path / "cat").mkdir()
    Image.fromarray(pixels).save(tmp_path / "cat" / "a.PNG")
    (tmp_path / "notes.txt").write_text("no image")
    dataset = ImageFolder(Context(), path=tmp_path)
    assert len(dataset) == 1
    assert dataset[0]["label"] == "cat"
    assert np.array_equal(PillowDecoder(Context())(dataset[0]["image"]), pixels)


@pytest.mark.parametrize(("number", "shape"), [(1, (8, 8, 1)), (3, (64, 16, 3)), (8, (32, 96, 3)), (13, (300, 300, 3))])
def test_every_reconstruction_is_drawn(tmp_path: Path, number: int, shape: tuple[int, int, int]) -> None:
    """The three kinds of image are white, grey and black here, and show equal areas of the two that the paper is not."""
    grid = ImageGrid(Context())
    assert isinstance(grid, Renderer)
    samples = [reconstruction(f"$key_{n}", *shape) for n in range(number)]
    path = grid(samples, tmp_path / "new" / "figure.png", title="step $1")
    assert path == tmp_path / "new" / "figure.png"
    drawn = np.array(Image.open(path).convert("RGB"))
    grey, black = ((drawn == value).all(2).sum() for value in (127, 0))
    assert grey == pytest.approx(black, rel=0.06)  # letters are black too
    longer = 1.7 * 120
    assert grey == pytest.approx(number * longer**2 * shape[0] * shape[1] / max(shape[:2]) ** 2, rel=0.06)


def test_the_same_input_gives_the_same_file(tmp_path: Path) -> None:
    first, second = (ImageGrid(Context())([reconstruction("a", 8, 8, 3)], tmp_path / name) for name in ("a", "b"))
    assert first.name == "a.png"
    assert first.read_bytes() == second.read_bytes()


def test_nothing_to_draw_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no reconstructions"):
        ImageGrid(Context())([], tmp_path / "a.png")


def test_what_is_hidden_is_striped_and_no_grey() -> None:
    """Of a greyscale picture in which a visible patch has the grey of what is hidden."""
    pixels, is_hidden = np.full((8, 8, 3), 127, np.uint8), np.zeros((8, 8), bool)
    is_hidden[:4, :4] = True
    drawn = show._hatched(pixels, is_hidden)
    half = len(drawn) // 2
    hidden, visible = drawn[:half, :half].reshape(-1, 3), drawn[half:].reshape(-1, 3)
    assert {tuple(color) for color in hidden.tolist()} == {tuple(color) for color in show._HATCH.tolist()}
    assert (visible == 127).all()
    assert (hidden[:, 2] > hidden[:, 1]).all()
