"""Texts with the words that a network filled in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from html import escape
from pathlib import Path
from typing import Any, ClassVar

from omnimask.interfaces import Context, Reconstruction

_STYLE = """
:root { color-scheme: light dark; --quiet: #777; --hidden: #ffe9a8; --right: #c9efcf; --wrong: #ffd2cc; }
@media (prefers-color-scheme: dark) { :root { --quiet: #999; --hidden: #5c4a10; --right: #1d4d28; --wrong: #63281f; } }
body { font: 15px/1.6 system-ui, sans-serif; max-width: 78rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.2rem; }
p.note, h2 { color: var(--quiet); font-size: .85rem; font-weight: normal; }
h2 { margin: 1.8rem 0 .3rem; overflow-wrap: anywhere; }
.both { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: .5rem 2rem; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; }
.text + .text { margin-top: .6rem; }
mark { color: inherit; border-radius: .2em; padding: 0 .15em; background: var(--hidden); }
mark.right { background: var(--right); }
mark.wrong { background: var(--wrong); }
"""


class Lines:
    """A page with the original text beside the filled-in one, hidden words marked; one HTML file that needs no other.

    In the original, hidden words are yellow. In the filled-in text, words that are as in the original are green, others red. Words
    are found by comparing the texts, so of a word that was hidden in part the whole is marked.
    """

    suffix: ClassVar[str] = ".html"

    def __init__(self, context: Context) -> None:
        del context

    def __call__(self, reconstructions: Sequence[Reconstruction], path: Path, *, title: str = "") -> Path:
        """Writes texts or lists of texts, and returns the file's path, which ends in ``.html``.

        Raises:
            ValueError: there is nothing to draw.
        """
        if not reconstructions:
            raise ValueError("there are no reconstructions to draw")
        path = path if path.suffix == self.suffix else path.with_name(path.name + self.suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(_page(reconstructions, title)), encoding="utf-8")
        return path


def _page(reconstructions: Sequence[Reconstruction], title: str) -> Iterator[str]:
    name = escape(title or "filled-in texts")
    yield '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">'
    yield f"<title>{name}</title>\n<style>{_STYLE}</style>\n<h1>{name}</h1>"
    note = reconstructions[0].note
    is_filled = any(one.filled is not None for one in reconstructions)
    legend = "<mark>hidden</mark>" + (
        ', filled in <mark class="right">as in the original</mark> or <mark class="wrong">otherwise</mark>' if is_filled else ""
    )
    yield f'<p class="note">{legend}{". " + escape(note) if note else ""}</p>'
    for one in reconstructions:
        originals, visibles = _texts(one.original), _texts(one.visible)
        fills = None if one.filled is None else _texts(one.filled)
        yield f"<h2>{escape(one.key)}</h2>"
        for number, original in enumerate(originals):
            marks, filled = _marked(original, _at(visibles, number), None if fills is None else _at(fills, number))
            beside = "" if filled is None else f'<div class="text">{filled}</div>'
            yield f'<div class="both"><div class="text">{marks}</div>{beside}</div>'


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(text) for text in value]


def _at(texts: Sequence[str], number: int) -> str:
    return texts[number] if number < len(texts) else ""


def _marked(original: str, visible: str, filled: str | None) -> tuple[str, str | None]:
    """Both texts as HTML with their marks."""
    words = _words(original)
    is_hidden = _is_changed(words, _words(visible))
    left = "".join(_mark(word, "" if hidden else None) for word, hidden in zip(words, is_hidden, strict=True))
    if filled is None:
        return left, None
    answers = _words(filled)
    found: list[str] = []
    for kind, start, stop, first, last in SequenceMatcher(None, _bare(words), _bare(answers), autojunk=False).get_opcodes():
        for number, word in enumerate(answers[first:last]):
            was_hidden = kind != "equal" or is_hidden[min(start + number, stop - 1)]
            found.append(_mark(word, ("right" if kind == "equal" else "wrong") if was_hidden else None))
    return left, "".join(found)


def _is_changed(words: Sequence[str], others: Sequence[str]) -> list[bool]:
    """Which words the other text does not have."""
    is_changed = [True] * len(words)
    for start, _, size in SequenceMatcher(None, _bare(words), _bare(others), autojunk=False).get_matching_blocks():
        is_changed[start : start + size] = [False] * size
    return is_changed


def _words(text: str) -> list[str]:
    """Words and other signs, each with the white space behind it."""
    return re.findall(r"\w+\s*|[^\w\s]\s*|^\s+", text)


def _bare(words: Sequence[str]) -> list[str]:
    return [word.strip() for word in words]


def _mark(word: str, kind: str | None) -> str:
    """A word as HTML; ``kind`` None is no mark."""
    bare = word.rstrip()
    attribute = f' class="{kind}"' if kind else ""
    return escape(word) if kind is None or not bare else f"<mark{attribute}>{escape(bare)}</mark>{escape(word[len(bare) :])}"
