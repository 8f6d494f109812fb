"""Figure of the few-label curves."""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from typing import Any

from omnimask.errors import UserError
from omnimask.evaluation.encoder_scores import Evaluation
from omnimask.evaluation.few_label_curves import ALL, Labels, Point

_COLOURS = ("#0b5fa5", "#d9822b", "#6b6b6b")
"""Colors of the sets of features, in order. Markers distinguish them without color."""
_MARKERS = ("o", "s", "^")
_DPI = 120


def check_installed(*, has_figure: bool = True) -> None:
    """Raise ``UserError`` if scipy, or matplotlib for a figure, is not installed."""
    needed = {"scipy": "intervals need scipy", **({"matplotlib": "figures need matplotlib"} if has_figure else {})}
    for module, reason in needed.items():
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UserError(f"{reason}; install it with: pip install 'omnimask[evaluation]'") from error


def draw(evaluation: Evaluation, title: str) -> bytes:
    """Return a PNG: for each probe, accuracy against labels per class, one line per set of features with its 95 % intervals."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    probes = list(dict.fromkeys(point.probe for point in evaluation.points))
    figure = Figure(figsize=(0.6 + 4.2 * len(probes), 4.1), dpi=_DPI, facecolor="white", layout="constrained")
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=9, fontweight="bold")
    axes = figure.subplots(1, len(probes), sharey=True, squeeze=False)[0]
    for axis, probe in zip(axes, probes, strict=True):
        _panel(axis, [point for point in evaluation.points if point.probe == probe], evaluation.chance, probe)
    axes[0].set_ylabel("accuracy on held-out samples, %")
    lines, names = axes[-1].get_legend_handles_labels()
    figure.legend(lines, names, frameon=False, fontsize=8, loc="outside lower center", ncols=len(names))
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    return buffer.getvalue()


def _panel(axis: Any, points: Sequence[Point], chance: float, probe: str) -> None:
    places: list[Labels] = list(dict.fromkeys(point.labels for point in points))
    for number, name in enumerate(dict.fromkeys(point.features for point in points)):
        mine = [point.accuracy for point in points if point.features == name]
        errors = [[100 * (each.mean - each.low) for each in mine], [100 * (each.high - each.mean) for each in mine]]
        axis.errorbar(
            range(len(mine)),
            [100 * each.mean for each in mine],
            yerr=errors,
            label=name,
            color=_COLOURS[number % len(_COLOURS)],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=4,
            linewidth=1.4,
            capsize=3,
        )
    axis.axhline(100 * chance, color="0.6", linewidth=0.8, linestyle=":", label="most frequent class")
    axis.set_xticks(range(len(places)), ["all" if place == ALL else str(place) for place in places])
    axis.set_xlabel("labels per class")
    axis.set_title(probe, fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
