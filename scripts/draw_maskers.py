"""Draws docs/assets/maskers.png: what the maskers do on 14 x 14 tokens, four samples each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from omnimask.components.maskers.block import BlockMasker
from omnimask.components.maskers.grid import GridMasker
from omnimask.components.maskers.multi_block import MultiBlockMasker
from omnimask.components.maskers.random import RandomMasker
from omnimask.components.maskers.span import SpanMasker
from omnimask.interfaces import Context, Draw, Masker, Masking, Tokens

PATH = Path(__file__).resolve().parent.parent / "docs" / "assets" / "maskers.png"
SIDE, SAMPLES = 14, 4
VISIBLE, ASKED, NEITHER = "#f2f2f2", "#3b6fb6", "#c9c9c9"
OUTLINES = ("#d1495b", "#edae49", "#00798c", "#6a4c93")
CONTEXT = Context()
MASKERS: Mapping[str, Masker] = {
    "random\nratio 0.75": RandomMasker(CONTEXT, ratio=0.75),
    "span\nratio 0.5, mean 5": SpanMasker(CONTEXT, ratio=0.5, mean_length=5.0),
    "block\nratio 0.4, size 4 to 8,\naspect 0.3 to 3.3": BlockMasker(CONTEXT, ratio=0.4, size=4, max_size=8, aspect=(0.3, 3.3)),
    "block\nratio 0.8, size 3,\ninverse": BlockMasker(CONTEXT, ratio=0.8, size=3, inverse=True),
    "grid\nstride 2": GridMasker(CONTEXT, stride=2),
    "multi_block\n4 targets, aspect\n0.75 to 1.5": MultiBlockMasker(CONTEXT, aspect=(0.75, 1.5)),
}


def main() -> None:
    """Draws the picture."""
    rows, columns = np.divmod(np.arange(SIDE**2), SIDE)
    tokens = Tokens(np.zeros(SIDE**2, np.int64), np.stack([rows, columns], axis=1).astype(np.float32))
    figure = Figure(figsize=(1.45 * len(MASKERS), 1.45 * SAMPLES + 0.95), dpi=90, layout="constrained")
    axes = figure.subplots(SAMPLES, len(MASKERS), squeeze=False)
    for column, (title, masker) in enumerate(MASKERS.items()):
        axes[0, column].set_title(title, fontsize=8)
        for row in range(SAMPLES):
            _draw(axes[row, column], masker(tokens, Draw(0, 0, f"sample {row}")))
    colours = {"visible": VISIBLE, "asked for": ASKED, "neither": NEITHER}
    patches = [Patch(facecolor=colour, edgecolor="0.6", label=label) for label, colour in colours.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    FigureCanvasAgg(figure).print_png(PATH)


def _draw(axes: Axes, masking: Masking) -> None:
    colours = np.where(masking.is_visible, VISIBLE, np.where(masking.is_target, ASKED, NEITHER))
    for token, colour in enumerate(colours.tolist()):
        row, column = divmod(token, SIDE)
        axes.add_patch(_rectangle(column, row, 1, 1, facecolor=colour, edgecolor="white", linewidth=0.4))
    for number, group in enumerate([] if masking.groups is None else masking.groups):
        place_rows, place_columns = np.divmod(np.flatnonzero(group), SIDE)
        left, top = int(place_columns.min()), int(place_rows.min())
        width, height = int(np.ptp(place_columns)) + 1, int(np.ptp(place_rows)) + 1
        axes.add_patch(_rectangle(left, top, width, height, fill=False, edgecolor=OUTLINES[number], linewidth=1.6))
    axes.set(xlim=(0, SIDE), ylim=(SIDE, 0), aspect="equal")
    axes.set_axis_off()


def _rectangle(left: int, top: int, width: int, height: int, **style: object) -> Patch:
    return Rectangle((left, top), width, height, **style)  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    main()
