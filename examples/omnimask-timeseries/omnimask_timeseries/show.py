"""Plots of reconstructed series."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from omnimask.interfaces import Context, Reconstruction

MOST_CHANNELS = 4


class Plot:
    """PNG with a row per series and a column per channel, four at most: measured, visible and predicted values.

    Measured values are grey, with gaps for missing ones. Visible values are drawn over them in black. Predictions are red, also in
    the gaps of hidden windows.
    """

    suffix: ClassVar[str] = ".png"

    def __init__(self, context: Context) -> None:
        pass

    def __call__(self, reconstructions: Sequence[Reconstruction], path: Path, *, title: str = "") -> Path:
        """Draw the figure and return its path."""
        columns = min(MOST_CHANNELS, max(one.original.shape[1] for one in reconstructions))
        rows = len(reconstructions)
        figure = Figure(figsize=(max(6, 4 * columns), 1.6 * rows + 0.6), layout="constrained")
        figure.suptitle(title)
        grid = figure.subplots(rows, columns, squeeze=False)
        for row, one in zip(grid, reconstructions, strict=True):
            for channel, axes in enumerate(row):
                if channel < one.original.shape[1]:
                    _draw(axes, one, channel)
                else:
                    axes.set_axis_off()
            shown = f", {columns} of {one.original.shape[1]} channels" if one.original.shape[1] > columns else ""
            row[0].set_title(f"{one.key}{shown} {one.note}", fontsize=7, loc="left")
        lines = grid[0, 0].get_legend_handles_labels()
        figure.legend(*lines, loc="outside lower center", ncols=3, fontsize=7, frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        FigureCanvasAgg(figure).print_png(path)
        return path


def _draw(axes: Any, one: Reconstruction, channel: int) -> None:
    original, visible = one.original[:, channel], one.visible[:, channel]
    axes.plot(original, color="0.7", linewidth=2.5, label="measured")
    axes.plot(visible, color="black", linewidth=0.9, label="seen")
    if one.filled is not None:
        filled = one.filled[:, channel]
        axes.plot(np.where(np.isnan(visible), filled, np.nan), color="tab:red", linewidth=1.2, label="filled in")
    axes.tick_params(labelsize=6)
