"""Plots of reconstructed series."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from omnimask.interfaces import Context, Reconstruction


class Plot:
    """PNG with a row per series: the original and the reconstruction."""

    suffix: ClassVar[str] = ".png"

    def __init__(self, context: Context) -> None:
        pass

    def __call__(self, reconstructions: Sequence[Reconstruction], path: Path, *, title: str = "") -> Path:
        """Draw the figure and return its path."""
        figure = Figure(figsize=(8, 1.5 * len(reconstructions)), layout="constrained")
        figure.suptitle(title)
        for axes, one in zip(figure.subplots(len(reconstructions), squeeze=False)[:, 0], reconstructions, strict=True):
            axes.plot(one.original, color="0.7")
            axes.plot(one.visible if one.filled is None else one.filled, linewidth=1)
            axes.set_title(one.key, fontsize=7, loc="left")
        path.parent.mkdir(parents=True, exist_ok=True)
        FigureCanvasAgg(figure).print_png(path)
        return path
