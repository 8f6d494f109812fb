"""Filled-in texts on a terminal: hidden tokens, the model's choice for each, and its alternatives. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from omnimask.cli.output import stdout

if TYPE_CHECKING:
    from omnimask.interfaces import Blank, Candidate, Reconstruction

ROWS = 12
"""Most tokens of a sample to list with their candidates, unless all are requested."""

_HIDDEN, _RIGHT, _WRONG = "yellow", "green", "red"
_INDENT = 2


def write_blanks(found: Mapping[str, Sequence[Reconstruction]], *, has_all: bool = False) -> bool:
    """Write every sample with blanks to stdout, and return whether there were any.

    Args:
        found: reconstructions by modality.
        has_all: whether to list all blanks of a sample instead of the first ``ROWS``.
    """
    console = Console(file=stdout(), highlight=False)
    shown = [(name, one) for name, each in found.items() for one in each if one.blanks]
    for name, one in shown:
        title = one.key if len(found) == 1 else f"{one.key}, {name}"
        console.print(Text(title, style="bold"), soft_wrap=True)
        for part in _parts(one, None if has_all else ROWS):
            console.print(Padding(part, (0, 0, 0, _INDENT), expand=False))
        console.print()
    if shown:
        console.print(
            Text("In brackets: target tokens. = marks the original token. Percentages are probabilities over all tokens.")
        )
        console.print()
    stdout().flush()
    return bool(shown)


def _parts(one: Reconstruction, limit: int | None) -> Iterator[RenderableType]:
    is_filled = any(blank.candidates for blank in one.blanks)
    if one.pieces:
        yield _labelled("text", _marked(one, lambda blank: (blank.truth or "?", _HIDDEN)))
        if is_filled:
            yield _labelled("filled", _marked(one, _answer))
    if is_filled:
        yield Text()
        yield _table(one.blanks[:limit])
        if limit is not None and len(one.blanks) > limit:
            yield Text(f"... and {len(one.blanks) - limit} more")


def _labelled(label: str, text: Text) -> Table:
    """Return a text with aligned lines, after a label."""
    table = Table.grid(padding=(0, 2))
    table.add_column(width=6)
    table.add_column(overflow="fold")
    table.add_row(Text(label), text)
    return table


def _marked(one: Reconstruction, show: Callable[[Blank], tuple[str, str]]) -> Text:
    """Return the sample's text with its blanks as given by ``show``: a text and its style."""
    blanks = {blank.at: blank for blank in one.blanks}
    text = Text()
    for at, piece in enumerate(one.pieces):
        if at not in blanks:
            text.append(piece)
            continue
        shown, style = show(blanks[at])
        before = len(shown) - len(shown.lstrip())
        # Where the input itself shows a mask, the space before it is the first candidate's.
        text.append(shown[:before] or _space(blanks[at], text))
        text.append(f"[{shown[before:]}]", style)
    text.rstrip()
    return text


def _space(blank: Blank, text: Text) -> str:
    is_open = blank.truth is None and blank.candidates and blank.candidates[0].shown[:1].isspace()
    return " " if is_open and not text.plain.endswith((" ", "\n")) else ""


def _answer(blank: Blank) -> tuple[str, str]:
    if not blank.candidates:
        return blank.truth or "?", _HIDDEN
    shown = blank.candidates[0].shown
    return shown, _HIDDEN if blank.truth is None else _RIGHT if shown == blank.truth else _WRONG


def _table(blanks: Sequence[Blank]) -> Table:
    """Return a table with one row per blank: the original token and the model's choices."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    most = max(len(blank.candidates) for blank in blanks)
    for name in ("asked for", *(f"choice {number}" for number in range(1, most + 1))):
        table.add_column(name, overflow="fold")
    for blank in blanks:
        table.add_row(_asked(blank), *([_candidate(candidate, blank) for candidate in blank.candidates] or [Text("not asked")]))
    return table


def _asked(blank: Blank) -> Text:
    """Return the original token, and the replacement read by the network, if any."""
    truth = "?" if blank.truth is None else visible(blank.truth)
    if blank.seen is None:
        return Text(truth)
    return Text(f"{truth} (it read {'this' if blank.seen == blank.truth else visible(blank.seen)})")


def _candidate(candidate: Candidate, blank: Blank) -> Text:
    is_right = candidate.shown == blank.truth
    shown = f"{'= ' if is_right else ''}{visible(candidate.shown)} {100 * candidate.probability:.1f} %"
    return Text(shown, _RIGHT if is_right else "")


def visible(piece: str) -> str:
    """Return a piece of text without surrounding spaces. Return Python's form of it if it is only spaces or unprintable."""
    bare = piece.strip()
    return bare if bare and bare.isprintable() else repr(piece)
