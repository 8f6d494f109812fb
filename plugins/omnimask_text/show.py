"""Figures of texts with the network's predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import ClassVar

from omnimask.figures import figure_file
from omnimask.interfaces import Blank, Context, Reconstruction

_STYLE = """
:root { color-scheme: light dark; --quiet: #777; --hidden: #ffe9a8; --right: #c9efcf; --wrong: #ffd2cc; }
@media (prefers-color-scheme: dark) { :root { --quiet: #999; --hidden: #5c4a10; --right: #1d4d28; --wrong: #63281f; } }
body { font: 15px/1.6 system-ui, sans-serif; max-width: 78rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.2rem; }
p.note, h2 { color: var(--quiet); font-size: .85rem; font-weight: normal; }
.both > .head { color: var(--quiet); font-size: .85rem; border-bottom: 1px solid var(--quiet); }
h2 { margin: 1.8rem 0 .3rem; overflow-wrap: anywhere; }
.both { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: .5rem 2rem; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; }
mark { color: inherit; border-radius: .2em; padding: 0 .15em; background: var(--hidden); }
mark[title] { cursor: help; }
mark.right { background: var(--right); }
mark.wrong { background: var(--wrong); }
"""


_HEADS = ("original", "filled in by the network")
"""Headings of the columns of texts."""


class TextPage:
    """A page with the original text beside the filled-in one, as a self-contained HTML file.

    In the original, asked tokens are yellow; hovering shows the text read by the network there. In the filled-in text its answers
    are green if correct, else red; hovering shows its first choices and their probabilities.
    """

    suffix: ClassVar[str] = ".html"

    def __init__(self, context: Context) -> None:
        del context

    def __call__(self, reconstructions: Sequence[Reconstruction], path: Path, *, title: str = "") -> Path:
        """Write texts, and return the file's path, which ends in ``.html``.

        Raises:
            ValueError: there is nothing to draw.
        """
        path = figure_file(reconstructions, path, self.suffix)
        path.write_text("\n".join(_page(reconstructions, title)) + "\n", encoding="utf-8")
        return path


def _page(reconstructions: Sequence[Reconstruction], title: str) -> Iterator[str]:
    name = escape(title or "filled-in texts")
    yield '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">'
    yield f"<title>{name}</title>\n<style>{_STYLE}</style>\n<h1>{name}</h1>"
    yield f'<p class="note">{". ".join(_legend(reconstructions))}</p>'
    for one in reconstructions:
        blanks = {blank.at: blank for blank in one.blanks}
        columns = ["".join(_left(piece, blanks.get(at)) for at, piece in enumerate(one.pieces))]
        if one.filled is not None:
            columns.append("".join(_right(piece, blanks.get(at)) for at, piece in enumerate(one.pieces)))
        heads = "".join(f'<div class="head">{head}</div>' for head in _HEADS[: len(columns)])
        yield f"<h2>{escape(one.key)}</h2>"
        yield f'<div class="both">{heads}' + "".join(f'<div class="text">{column}</div>' for column in columns) + "</div>"


def _legend(reconstructions: Sequence[Reconstruction]) -> Iterator[str]:
    """Yield the meaning of the marks, and the number of correct answers."""
    yield "<mark>Asked for</mark>"
    answered = [blank for one in reconstructions for blank in one.blanks if blank.candidates and blank.truth is not None]
    if answered:
        num_right = sum(blank.candidates[0].shown == blank.truth for blank in answered)
        legend = '<mark class="right">right</mark>, others <mark class="wrong">wrong</mark>'
        yield f"{num_right} of {len(answered)} answers are {legend}"
    if reconstructions[0].note:
        yield escape(reconstructions[0].note)


def _left(piece: str, blank: Blank | None) -> str:
    """Return a piece of the original as HTML."""
    if blank is None:
        return escape(piece)
    if blank.seen is None:
        return _marked(piece, "", "hidden")
    return _marked(piece, "", "read as it is" if blank.seen == blank.truth else f"read as {blank.seen.strip()!r}")


def _right(piece: str, blank: Blank | None) -> str:
    """Return the network's answer for a piece as HTML."""
    if blank is None or not blank.candidates:
        return escape(piece) if blank is None else _marked(piece, "", "not answered")
    first = blank.candidates[0].shown
    choices = [f"{one.shown.strip()!r} {one.probability:.0%}" for one in blank.candidates]
    kind = "" if blank.truth is None else "right" if first == blank.truth else "wrong"
    return _marked(first, kind, "\n".join(choices))


def _marked(piece: str, kind: str, about: str) -> str:
    """Return a piece as HTML, marked except for surrounding white space."""
    bare = piece.strip()
    before, _, after = piece.partition(bare) if bare else ("", "", piece)
    attributes = (f' class="{kind}"' if kind else "") + f' title="{escape(about)}"'
    return f"{escape(before)}<mark{attributes}>{escape(bare) or '·'}</mark>{escape(after)}"
