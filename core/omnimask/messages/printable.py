"""Text that any terminal, log or figure can show. Imports no torch."""

from __future__ import annotations

import unicodedata

_HIDDEN = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories of control characters, lone surrogates, and separators of lines and paragraphs."""


def printable(text: str, *, keep: str = "") -> str:
    """The text with control characters and what is no Unicode written as escapes: ``caf\\xe9.jpg`` for a name in Latin-1.

    Args:
        text: a key or a path, say; bytes of a file's name that are no UTF-8 are surrogates in it, as Python reads them.
        keep: control characters that stay, ``"\\n"`` for messages of several lines.
    """
    if text.isprintable():
        return text
    return "".join(_escaped(one) if unicodedata.category(one) in _HIDDEN and one not in keep else one for one in text)


def _escaped(one: str) -> str:
    number = ord(one)
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    return one.encode("unicode_escape").decode("ascii")
