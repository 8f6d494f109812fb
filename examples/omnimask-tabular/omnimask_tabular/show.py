"""HTML page of reconstructed rows."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from omnimask.interfaces import Context, Reconstruction
from omnimask_tabular.schema import Cell

_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; }
table { border-collapse: collapse; margin: 0 0 2em; }
td, th { border: 1px solid #ccc; padding: 2px 8px; text-align: left; }
.missing { color: #999; font-style: italic; }
.hidden { background: #eee; color: #555; }
.right { background: #dff0d8; } .wrong { background: #f8d7da; } .number { background: #fff3cd; }
"""
_LEGEND = (
    '<span class="hidden">hidden from the network</span> <span class="right">a category, right</span> '
    '<span class="wrong">a category, wrong</span> <span class="number">a number</span> <span class="missing">missing</span>'
)


class Page:
    """HTML page with a table per row of data: original cells, visible cells, and predictions."""

    suffix: ClassVar[str] = ".html"

    def __init__(self, context: Context) -> None:
        pass

    def __call__(self, reconstructions: Sequence[Reconstruction], path: Path, *, title: str = "") -> Path:
        """Write the page and return its path."""
        parts = [f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{_STYLE}</style>"]
        parts += [f"<h1>{html.escape(title)}</h1><p>{_LEGEND}</p>", *map(_table, reconstructions)]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(parts), encoding="utf-8")
        return path


def _table(one: Reconstruction) -> str:
    """Return the HTML of one row of data, with a line for each column."""
    lines = ["<tr><th>column<th>is<th>seen<th>filled in"]
    for name, value in one.original.items():
        seen = _cell(one.visible[name]) if name in one.visible else '<td class="hidden">?'
        filled = "<td>" if one.filled is None or name in one.visible else _filled(value, one.filled.get(name))
        lines.append(f"<tr><th>{html.escape(name)}{_cell(value)}{seen}{filled}")
    note = f" ({html.escape(one.note)})" if one.note else ""
    return f"<h2>{html.escape(one.key)}{note}</h2><table>{''.join(lines)}</table>"


def _cell(value: Cell) -> str:
    return '<td class="missing">missing' if value is None else f"<td>{_text(value)}"


def _filled(right: Cell, value: Cell) -> str:
    kind = "number" if isinstance(value, float) else "right" if value == right else "wrong"
    return f'<td class="{kind}">{_text(value)}'


def _text(value: Cell) -> str:
    return f"{value:.4g}" if isinstance(value, float) else html.escape(str(value))
