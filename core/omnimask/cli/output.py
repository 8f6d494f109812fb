"""Output of commands: tables and JSON to stdout, everything else to stderr. Imports no torch."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from omnimask.messages.printable import printable

_LOGGER = logging.getLogger("omnimask")
_LAYOUT = "\n\t"


def report(code: int, *messages: str) -> int:
    """Write every message to stderr after ``error: ``, and return the exit code."""
    for message in messages:
        print(f"error: {printable(message, keep=_LAYOUT)}", file=sys.stderr)
    sys.stderr.flush()
    return code


_speaks = [True]


@contextlib.contextmanager
def speaking(is_wanted: bool) -> Iterator[None]:
    """Write messages inside the ``with`` block only if they are wanted. Errors are always written."""
    before = _speaks[0]
    _speaks[0] = is_wanted
    try:
        yield
    finally:
        _speaks[0] = before


def say(message: str) -> None:
    """Write one message to stderr."""
    if _speaks[0]:
        print(printable(message, keep=_LAYOUT), file=sys.stderr, flush=True)


_answers: list[TextIO | None] = [None]
"""Stream for answers while the prints of other code are redirected."""


def stdout() -> TextIO:
    """Return the stream for answers, even inside :func:`messages`, where ``sys.stdout`` is redirected."""
    return _answers[0] or sys.stdout


def write_json(value: Any) -> None:
    """Write one JSON document to stdout."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    print(text if text.isascii() or not _has_surrogates(text) else json.dumps(value, indent=2), file=stdout(), flush=True)


def write_text(text: str) -> None:
    """Write text to stdout."""
    print(printable(text, keep=_LAYOUT), file=stdout(), flush=True)


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= one <= "\udfff" for one in text)


def write_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "", right: Sequence[str] = ()) -> None:
    """Write a table to stdout. Cells wrap to the terminal's width, and contain no markup.

    Args:
        columns: headings.
        rows: cells.
        title: line above the table.
        right: headings of right-aligned columns.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(columns))
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell, keep=_LAYOUT)) for cell in row))
    console = Console(file=stdout())
    if title:
        console.print(Text(printable(title), style="bold"), soft_wrap=True)
    console.print(table)
    stdout().flush()


def write_pairs(pairs: Mapping[str, str], *, title: str = "") -> None:
    """Write names and values to stdout, one pair per line."""
    write_table(("", ""), list(pairs.items()), title=title)


@contextlib.contextmanager
def messages() -> Iterator[None]:
    """Write the library's log to stderr inside the ``with`` block: plain information, and warnings with a prefix.

    Prints of components go to stderr too. Only the functions of this file write to stdout.
    """
    handler, level, before = _StderrHandler(), _LOGGER.level, _answers[0]
    _LOGGER.addHandler(handler)
    _LOGGER.setLevel(logging.INFO)
    _answers[0] = before or sys.stdout
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _answers[0] = before
        _LOGGER.setLevel(level)
        _LOGGER.removeHandler(handler)


class _StderrHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        say(prefix + record.getMessage())


def quantity(number: float) -> str:
    """Return three digits and a prefix for a unit: ``950 ``, ``12.3 k``, ``4.56 M``, up to Z."""
    for limit, unit in ((1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit:
            return f"{number / limit:.3g} {unit}"
    return f"{number:.3g} "


def perplexity(cross_entropy: float) -> str:
    """Return e to the power of a mean cross-entropy in nats: ``1.70``, ``24.8``, ``1,234``.

    The result has three digits, or all digits before the point.
    """
    value = math.exp(min(cross_entropy, 700))
    for limit, form in ((9.995, ".2f"), (99.95, ".1f"), (1e9, ",.0f")):
        if value < limit:
            return format(value, form)
    return f"{value:.3g}"


def size(num_bytes: float) -> str:
    """Return bytes in decimal units: 1.5 MB."""
    return f"{quantity(num_bytes)}B"
