"""Figures of reconstructed images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from omnimask.figures import figure_file, short_key
from omnimask.interfaces import Context, Reconstruction
from omnimask_image.pixels import checked

_COLUMNS = ("original", "masked input", "reconstruction")
_UNTRAINED = ("original", "visible input")
_HATCH = np.array([[222, 214, 240], [178, 162, 214]], np.uint8)
"""Colors of the stripes over hidden pixels, which do not occur in grey pictures."""
_STRIPES = 36
"""Number of stripes along the longer side of an image."""
_DPI = 120
_SIDE = 1.7
"""Longer side of one image, in inches."""
_ROWS = 6
"""Number of reconstructions per block; further ones go to the right."""
_NARROWEST = 1.3
"""Minimum width of a column for its title, in inches."""
_GAP = 0.08
_LINE = 0.2
"""Height of a gap between images, and of a line of text, in inches."""


class ImageGrid:
    """A PNG with one row per reconstruction: the original, the visible part, and the filled-in whole, if there is one.

    Hidden pixels are striped in lilac.

    More than six reconstructions are arranged in several blocks side by side. Small images are enlarged without smoothing. Images
    may differ in size, and each keeps its aspect ratio.
    """

    suffix: ClassVar[str] = ".png"

    def __init__(self, context: Context) -> None:
        pass

    def __call__(self, reconstructions: Sequence[Reconstruction], path: Path, *, title: str = "") -> Path:
        """Draw (H, W) or (H, W, C) uint8 images, and return the file's path, which ends in ``.png``.

        Raises:
            ValueError: there is nothing to draw.
        """
        path = figure_file(reconstructions, path, self.suffix)
        FigureCanvasAgg(_figure(reconstructions, title)).print_png(path)
        return path


def _figure(reconstructions: Sequence[Reconstruction], title: str) -> Figure:
    """Draw the figure. All lengths are in inches: images keep their aspect ratio, texts their room."""
    num_blocks = math.ceil(len(reconstructions) / _ROWS)
    num_rows = math.ceil(len(reconstructions) / num_blocks)
    sizes = [_size(reconstruction.original) for reconstruction in reconstructions]
    cell_width = max(_NARROWEST, *(width for _, width in sizes))
    num_columns = sum(values is not None for values in _images(reconstructions[0]))
    block_width = num_columns * (cell_width + _GAP) + 3 * _GAP
    note = reconstructions[0].note
    top = _LINE + (1.5 * _LINE if title else 0.0) + (_LINE if note else 0.0)
    downs = [_place(sizes, number, num_rows) for number in range(len(sizes))]
    total_width = num_blocks * block_width - 2 * _GAP
    total_height = top + max(down + height for down, (height, _) in zip(downs, sizes, strict=True)) + _LINE + _GAP
    figure = Figure(figsize=(total_width, total_height), dpi=_DPI, facecolor="white")

    def write(left: float, down: float, text: str, **style: Any) -> None:
        figure.text(left / total_width, 1 - down / total_height, text, va="center", parse_math=False, **style)

    write(_GAP, 0.8 * _LINE, title, fontsize=9, fontweight="bold")
    write(_GAP, (1.9 if title else 0.6) * _LINE, note, fontsize=6.5, color="0.35")
    for number, (reconstruction, (height, _)) in enumerate(zip(reconstructions, sizes, strict=True)):
        block, row = divmod(number, num_rows)
        down = top + downs[number]
        for column, values in enumerate(_images(reconstruction)[:num_columns]):
            left = _GAP + block * block_width + column * (cell_width + _GAP)
            bottom = 1 - (down + height) / total_height
            axes = figure.add_axes((left / total_width, bottom, cell_width / total_width, height / total_height))
            _draw(axes, values, reconstruction.is_hidden if column == 1 else None)
            if row == 0:
                name = (_UNTRAINED if reconstruction.filled is None else _COLUMNS)[column]
                write(left + cell_width / 2, top - 0.5 * _LINE, name, fontsize=8, ha="center")
        write(_GAP + block * block_width, down + height + 0.5 * _LINE, short_key(reconstruction.key), fontsize=6, color="0.35")
    return figure


def _size(values: Any) -> tuple[float, float]:
    """Return (height, width) in inches of an image with the common length of the longer side."""
    height, width, _ = checked(values).shape
    return _SIDE * height / max(height, width), _SIDE * width / max(height, width)


def _place(sizes: Sequence[tuple[float, float]], number: int, num_rows: int) -> float:
    """Return the distance in inches from the first row's upper edge to a reconstruction's, below those before it in its block."""
    first = number - number % num_rows
    return sum(height + _LINE for height, _ in sizes[first:number])


def _images(reconstruction: Reconstruction) -> tuple[Any, Any, Any]:
    """Return the images in the order of the columns; the last is None if no model filled anything in."""
    return reconstruction.original, reconstruction.visible, reconstruction.filled


def _draw(axes: Axes, values: Any, is_hidden: Any | None = None) -> None:
    pixels = checked(values)
    is_small = max(pixels.shape[:2]) < _SIDE * _DPI
    pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    if is_hidden is not None:
        pixels = _hatched(pixels, np.asarray(is_hidden, bool).reshape(*pixels.shape[:2], -1).any(2))
    axes.imshow(pixels, interpolation="nearest" if is_small else "antialiased")
    axes.set_axis_off()


def _hatched(pixels: Any, is_hidden: Any) -> Any:
    """Return (H', W', 3) with stripes over hidden pixels (H, W). Small images are enlarged so that stripes fit into a patch."""
    factor = math.ceil(2 * _SIDE * _DPI / max(pixels.shape[:2]))
    pixels, is_hidden = (np.repeat(np.repeat(values, factor, 0), factor, 1) for values in (pixels, is_hidden))
    period = max(2, round(max(pixels.shape[:2]) / _STRIPES))
    stripe = (np.add.outer(*map(np.arange, pixels.shape[:2])) // (period // 2)) % 2
    return np.where(is_hidden[:, :, None], _HATCH[stripe], pixels)
