"""Text in a form for any terminal, log or figure. Imports no torch."""

from __future__ import annotations

import unicodedata

_HIDDEN = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories of control characters, lone surrogates, and separators of lines and paragraphs."""


def printable(text: str, *, keep: str = "") -> str:
    """Return the text with control characters and invalid Unicode escaped: ``caf\\xe9.jpg`` for a name in Latin-1.

    Args:
        text: for example a key or a path. Invalid UTF-8 in a file's name is represented by surrogates, as Python reads it.
        keep: control characters to keep, ``"\\n"`` for messages of several lines.
    """
    if text.isprintable():
        return text
    return "".join(_escaped(one) if unicodedata.category(one) in _HIDDEN and one not in keep else one for one in text)


def _escaped(one: str) -> str:
    number = ord(one)
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    return one.encode("unicode_escape").decode("ascii")
